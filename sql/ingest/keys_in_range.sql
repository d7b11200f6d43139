-- All keys in a range, each as two numbers. Read by ingest/duplicates.py at start, to fill the Bloom filter range by
-- range.
SELECT
    reinterpretAsUInt64(substring(key, 1, 8)) AS high,
    reinterpretAsUInt64(substring(key, 9, 8)) AS low
FROM event_keys
WHERE key >= toFixedString(unhex({first:String}), 16) AND key <= toFixedString(unhex({last:String}), 16)
    AND stored_at >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
