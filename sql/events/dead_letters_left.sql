-- The number of dead letters to replay after the last one that was processed.
-- Read by engine/dead_letters/replay.py; ${filter} is events/dead_letter_filter.
SELECT count()
FROM dead_letters
WHERE ${filter}
    AND arrived_at >= fromUnixTimestamp64Milli({after_ms:Int64}, 'UTC')
    AND (toUnixTimestamp64Milli(arrived_at), log_partition, log_offset)
        > ({after_ms:Int64}, {after_partition:Int32}, {after_offset:Int64})
