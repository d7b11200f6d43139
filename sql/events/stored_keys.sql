-- Which of these keys belong to events that were stored at any time. The query reads 16 bytes of every event. It is
-- used when dead letters are replayed so late that event_keys may no longer have the keys.
-- Read by engine/dead_letters/replay.py.
SELECT DISTINCT hex(key)
FROM events
WHERE key IN (SELECT toFixedString(unhex(arrayJoin({keys:Array(String)})), 16))
