-- A page of events, newest first. ClickHouse removes a filter that is NULL from the query, so its column is not read.
-- The bounds on `time` exclude whole months. `after_ms`, `after_partition`, `after_offset`: the last event of the
-- previous page, or NULL. ${filters}: conditions on columns, made by engine/filters.py. Read by
-- engine/events/listing.py.
SELECT
    type, subject, toUnixTimestamp64Milli(time), log_partition, log_offset,
    id, source, data, extensions, toUnixTimestamp64Milli(arrived_at), toUnixTimestamp64Milli(stored_at)
FROM events
WHERE time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') AND time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
    AND ({subject:Nullable(String)} IS NULL OR subject = {subject:Nullable(String)})
    AND ({id_contains:Nullable(String)} IS NULL OR position(id, {id_contains:Nullable(String)}) > 0)
    AND ({ingested_from_ms:Nullable(Int64)} IS NULL
        OR arrived_at >= fromUnixTimestamp64Milli({ingested_from_ms:Nullable(Int64)}, 'UTC'))
    AND ({ingested_to_ms:Nullable(Int64)} IS NULL
        OR arrived_at < fromUnixTimestamp64Milli({ingested_to_ms:Nullable(Int64)}, 'UTC'))
    AND ${filters}
    AND ({after_ms:Nullable(Int64)} IS NULL
        OR (toUnixTimestamp64Milli(time), log_partition, log_offset)
            < ({after_ms:Nullable(Int64)}, {after_partition:Nullable(Int32)}, {after_offset:Nullable(Int64)}))
ORDER BY time DESC, log_partition DESC, log_offset DESC
LIMIT {limit:UInt32}
