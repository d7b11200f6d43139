-- Dead letters, newest first. `after_ms`, `after_partition`, `after_offset`: the last one of the page before, NULL: none.
-- A value that is not UTF-8 comes out as base64. Read by engine/listings.py.
SELECT
    toUnixTimestamp64Milli(arrived_at), toUnixTimestamp64Milli(stored_at), log_partition, log_offset, reason,
    isValidUTF8(value), if(isValidUTF8(value), value, base64Encode(value))
FROM dead_letters
WHERE {after_ms:Nullable(Int64)} IS NULL
    OR (arrived_at <= fromUnixTimestamp64Milli({after_ms:Nullable(Int64)}, 'UTC')
        AND (toUnixTimestamp64Milli(arrived_at), log_partition, log_offset)
            < ({after_ms:Nullable(Int64)}, {after_partition:Nullable(Int32)}, {after_offset:Nullable(Int64)}))
ORDER BY arrived_at DESC, log_partition DESC, log_offset DESC
LIMIT {limit:UInt32}
