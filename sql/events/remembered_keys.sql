-- Which of these keys belong to events that were stored no longer ago than the duplicate window and a week.
-- Read by engine/dead_letters/replay.py.
SELECT DISTINCT hex(key)
FROM event_keys
WHERE key IN (SELECT toFixedString(unhex(arrayJoin({keys:Array(String)})), 16))
