-- The duplicate index: which (source, id) has been stored, and from which position of the log.
-- Grain: one row an event. ORDER BY key: rows are looked up by their 128-bit hash only.
-- The TTL is a week longer than the duplicate window, so that a batch that is retried late still finds the same keys.
-- Filled by event_keys_view; read by ingest.
CREATE TABLE IF NOT EXISTS event_keys
(
    key FixedString(16),
    log_partition Int32,
    log_offset Int64,
    stored_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY key
TTL toDateTime(stored_at) + INTERVAL ${keep_days} DAY
SETTINGS non_replicated_deduplication_window = ${window}
