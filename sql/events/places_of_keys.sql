-- Where events with these keys stand, if they were stored at one of these stamps. `events` is not ordered by key:
-- stamps, of which a granule has few, decide which granules are read further. Read by engine/events/outcomes.py; ${keys} is
-- events/key_list.
SELECT hex(key), toUnixTimestamp64Milli(stored_at), type, subject, toUnixTimestamp64Milli(time), log_partition, log_offset
FROM events
PREWHERE stored_at IN (SELECT fromUnixTimestamp64Milli(arrayJoin({stamps:Array(Int64)}), 'UTC'))
WHERE key IN (${keys})
