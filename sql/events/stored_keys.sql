-- Which of these keys belong to events stored at any time: 16 bytes of every event are read. Asked when dead letters
-- are replayed so late that event_keys may have forgotten. Read by engine/dead_letters/replay.py.
SELECT DISTINCT hex(key)
FROM events
WHERE key IN (SELECT toFixedString(unhex(arrayJoin({keys:Array(String)})), 16))
