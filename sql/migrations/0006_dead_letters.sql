-- Every record that could not become an event, with the reason and the raw bytes.
-- `headers` is a JSON list of [name, value], '' where there were none: a CloudEvent in binary mode has its attributes
-- there.
-- Grain: one row a record.
-- ORDER BY: listed newest first, replayed by position.
-- Written by ingest under a deduplication token of its own; read by GET /api/v1/dead-letters.
CREATE TABLE IF NOT EXISTS dead_letters
(
    arrived_at DateTime64(3, 'UTC'),
    stored_at DateTime64(3, 'UTC'),
    log_partition Int32,
    log_offset Int64,
    reason String,
    value String CODEC(ZSTD(1)),
    headers String CODEC(ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (arrived_at, log_partition, log_offset)
SETTINGS non_replicated_deduplication_window = ${window}
