-- Every event, once, as it was sent. The rollups of meters and the duplicate index are derived from this table.
-- Grain: one row an event. ORDER BY: usage is asked for by type and subject over a time range.
-- Partitioned by month, so that old months can be dropped and a meter is filled month by month.
-- Written by ingest only; read by fills, by queries with bounds within a minute, and by GET /api/v1/events.
CREATE TABLE IF NOT EXISTS events
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
ENGINE = MergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (type, subject, time)
SETTINGS non_replicated_deduplication_window = ${window}
