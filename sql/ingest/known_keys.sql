-- Where in the log events with these keys came from, and when they were stored: one row a stored event.
-- Asked for the keys the filter lets through.
SELECT key, log_partition, log_offset, toUnixTimestamp64Milli(stored_at) AS stored_ms
FROM event_keys
WHERE key IN (SELECT toFixedString(unhex(arrayJoin({keys:Array(String)})), 16))
    AND stored_at >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
