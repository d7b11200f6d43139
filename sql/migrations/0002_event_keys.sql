-- Which (source, id) has been stored, and from where in the log: the duplicate index.
-- Grain: one row an event. ORDER BY key: looked up by 128-bit hash, nothing else.
-- The TTL is a week longer than the duplicate window, so that a retry long after its plan still sees the same keys.
-- Fed by event_keys_view; read by ingest.
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
