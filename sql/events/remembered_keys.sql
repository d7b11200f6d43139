-- Which of these keys belong to events stored within the duplicate window, or a week longer. Read by engine/dead_letters/replay.py.
SELECT DISTINCT hex(key)
FROM event_keys
WHERE key IN (SELECT toFixedString(unhex(arrayJoin({keys:Array(String)})), 16))
