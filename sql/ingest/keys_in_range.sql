-- All keys whose first byte lies in a range, as two numbers each. Fills the filter at start, a range at a time.
SELECT
    reinterpretAsUInt64(substring(key, 1, 8)) AS high,
    reinterpretAsUInt64(substring(key, 9, 8)) AS low
FROM event_keys
WHERE key >= toFixedString(unhex({first:String}), 16) AND key <= toFixedString(unhex({last:String}), 16)
    AND stored_at >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
