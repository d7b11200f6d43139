-- The migrations that have run, each with the hash of its file, because a migration is never edited. `completed_at` is
-- NULL while a migration runs. ClickHouse has no transactional DDL, so a start that finds such a row runs the migration
-- again.
-- `needs`: the oldest migration that a release must know to work with the store after this migration. An older release
-- reads it, because it does not have the file.
-- Grain: one row when a migration begins and one when it has completed, the higher version wins.
CREATE TABLE IF NOT EXISTS schema_migrations
(
    name String,
    version UInt64,
    hash String,
    needs String,
    started_at DateTime64(3, 'UTC'),
    completed_at Nullable(DateTime64(3, 'UTC'))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY name
