-- Events that were dropped as duplicates although their content differs from that of the stored event of the same key.
-- Grain: one row a record of the log; a record that is read and dropped again replaces its row.
-- ORDER BY: listed newest first.
-- Written by ingest under a deduplication token of its own, a bounded number for each block; read by GET
-- /api/v1/duplicates.
CREATE TABLE IF NOT EXISTS differing_duplicates
(
    id String,
    source LowCardinality(String),
    type LowCardinality(String),
    subject String,
    time DateTime64(3, 'UTC'),
    data String CODEC(ZSTD(1)),
    extensions String CODEC(ZSTD(1)),
    arrived_at DateTime64(3, 'UTC'),
    stored_at DateTime64(3, 'UTC'),
    log_partition Int32,
    log_offset Int64,
    key FixedString(16)
)
ENGINE = ReplacingMergeTree(stored_at)
ORDER BY (arrived_at, log_partition, log_offset)
TTL toDateTime(stored_at) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = ${window}
