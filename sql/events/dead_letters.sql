-- A page of dead letters, newest first. `after_ms`, `after_partition`, `after_offset`: the last one of the previous
-- page, or NULL. Replays are looked up only for the rows of the page. A value that is not UTF-8 is returned as base64.
-- Read by engine/dead_letters/listing.py; ${filter} is events/dead_letter_filter.
WITH page AS (
    SELECT arrived_at, stored_at, log_partition, log_offset, reason, value, headers
    FROM dead_letters
    WHERE ${filter}
        AND ({after_ms:Nullable(Int64)} IS NULL
            OR (arrived_at <= fromUnixTimestamp64Milli({after_ms:Nullable(Int64)}, 'UTC')
                AND (toUnixTimestamp64Milli(arrived_at), log_partition, log_offset)
                    < ({after_ms:Nullable(Int64)}, {after_partition:Nullable(Int32)}, {after_offset:Nullable(Int64)})))
    ORDER BY arrived_at DESC, log_partition DESC, log_offset DESC
    LIMIT {limit:UInt32}
)
SELECT
    toUnixTimestamp64Milli(arrived_at), toUnixTimestamp64Milli(stored_at), log_partition, log_offset, reason,
    isValidUTF8(value), if(isValidUTF8(value), value, base64Encode(value)), headers,
    nullIf(toUnixTimestamp64Milli(replayed_at), 0)
FROM page
LEFT ANY JOIN (
    SELECT arrived_at, log_partition, log_offset, replayed_at
    FROM dead_letter_replays
    WHERE arrived_at IN (SELECT arrived_at FROM page)
) AS replays
USING (arrived_at, log_partition, log_offset)
ORDER BY arrived_at DESC, log_partition DESC, log_offset DESC
