-- The positions and lengths of dead letters to replay, oldest first. `after_…`: the last one that was processed.
-- Read by engine/dead_letters/replay.py; ${filter} is events/dead_letter_filter.
SELECT toUnixTimestamp64Milli(arrived_at), log_partition, log_offset, length(value) + length(headers)
FROM dead_letters
WHERE ${filter}
    AND ({after_ms:Nullable(Int64)} IS NULL
        OR (arrived_at >= fromUnixTimestamp64Milli({after_ms:Nullable(Int64)}, 'UTC')
            AND (toUnixTimestamp64Milli(arrived_at), log_partition, log_offset)
                > ({after_ms:Nullable(Int64)}, {after_partition:Nullable(Int32)}, {after_offset:Nullable(Int64)})))
ORDER BY arrived_at, log_partition, log_offset
LIMIT {limit:UInt32}
