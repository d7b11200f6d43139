-- The positions of events with these keys that were stored with one of these stamps. `events` is not ordered by key. A
-- granule has few different stamps, so the stamps decide which granules are read further.
-- Read by engine/events/outcomes.py; ${keys} is events/key_list.
SELECT hex(key), toUnixTimestamp64Milli(stored_at), type, subject, toUnixTimestamp64Milli(time), log_partition, log_offset
FROM events
PREWHERE stored_at IN (SELECT fromUnixTimestamp64Milli(arrayJoin({stamps:Array(Int64)}), 'UTC'))
WHERE key IN (${keys})
