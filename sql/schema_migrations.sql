-- The migrations that have run, each with the hash of its file, because a migration is never edited. `completed_at` is
-- NULL while a migration runs. ClickHouse has no transactional DDL, so a start that finds such a row runs the migration
-- again.
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
