-- The meter registry.
-- Grain: one row a change of a meter; the highest version of an id wins.
-- ORDER BY id: the whole table is read with FINAL, and it holds a few hundred rows.
-- `state`: creating (its tables are being made), settling and filling (answered from the events until the rollup is
-- complete), ready, deleted.
-- `visible_from`: the rollup's views take the events stored from this instant on, the fill takes those stored before
-- it.
-- The deduplication window: if two processes make a meter of one slug at the same moment, the first row wins.
CREATE TABLE IF NOT EXISTS meters
(
    id String,
    version UInt64,
    slug String,
    state LowCardinality(String),
    definition String,
    rollup String,
    visible_from DateTime64(3, 'UTC'),
    filled_to DateTime64(3, 'UTC'),
    created_at DateTime64(3, 'UTC'),
    updated_at DateTime64(3, 'UTC'),
    deleted_at Nullable(DateTime64(3, 'UTC'))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id
SETTINGS non_replicated_deduplication_window = ${window}
