-- Which migrations have run, and the hash of each as it ran: a migration is never edited.
-- `completed_at` is NULL while one runs: ClickHouse has no transactional DDL, so a start-up that finds one repeats it.
CREATE TABLE IF NOT EXISTS schema_migrations
(
    name String,
    version UInt64,
    hash String,
    started_at DateTime64(3, 'UTC'),
    completed_at Nullable(DateTime64(3, 'UTC'))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY name
