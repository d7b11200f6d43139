-- The log positions of stored events with these keys, and when they were stored: one row for each stored event.
-- Read by ingest/duplicates.py for the keys that pass the Bloom filter, and by ingest/differing_duplicates.py.
SELECT key, log_partition, log_offset, toUnixTimestamp64Milli(stored_at) AS stored_ms
FROM event_keys
WHERE key IN (SELECT toFixedString(unhex(arrayJoin({keys:Array(String)})), 16))
    AND stored_at >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
