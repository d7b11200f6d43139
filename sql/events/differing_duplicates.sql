-- A page of duplicates whose content differs from the stored event, the latest arrival first. A filter that is NULL is
-- removed from the query by ClickHouse. `after_ms`, `after_partition`, `after_offset`: the last one of the previous
-- page, or NULL. Read by engine/events/differing_duplicates.py.
SELECT
    type, subject, toUnixTimestamp64Milli(time), log_partition, log_offset,
    id, source, data, extensions, toUnixTimestamp64Milli(arrived_at), toUnixTimestamp64Milli(stored_at)
FROM differing_duplicates FINAL
WHERE ({from_ms:Nullable(Int64)} IS NULL OR arrived_at >= fromUnixTimestamp64Milli({from_ms:Nullable(Int64)}, 'UTC'))
    AND ({to_ms:Nullable(Int64)} IS NULL OR arrived_at < fromUnixTimestamp64Milli({to_ms:Nullable(Int64)}, 'UTC'))
    AND ({subject:Nullable(String)} IS NULL OR subject = {subject:Nullable(String)})
    AND ({id_contains:Nullable(String)} IS NULL OR position(id, {id_contains:Nullable(String)}) > 0)
    AND ({after_ms:Nullable(Int64)} IS NULL
        OR (toUnixTimestamp64Milli(arrived_at), log_partition, log_offset)
            < ({after_ms:Nullable(Int64)}, {after_partition:Nullable(Int32)}, {after_offset:Nullable(Int64)}))
ORDER BY arrived_at DESC, log_partition DESC, log_offset DESC
LIMIT {limit:UInt32}
