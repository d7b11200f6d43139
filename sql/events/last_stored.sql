-- When events with these keys were stored; the last time, if it was more than once (after the duplicate window).
-- Read by engine/events/outcomes.py; ${keys} is events/key_list.
SELECT hex(key), max(toUnixTimestamp64Milli(stored_at))
FROM event_keys
WHERE key IN (${keys})
GROUP BY key
