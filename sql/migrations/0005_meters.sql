-- The meter registry. Grain: one row a change of a meter; the highest version of an id wins.
-- ORDER BY id: the whole table is read with FINAL, it holds a few hundred rows.
-- `state`: creating (tables being made), settling, filling (answered from events until the rollup is complete), ready,
-- deleted.
-- `visible_from`: the rollup views take events stored from this instant on, the fill those stored before it.
-- Written by engine/registry.py.
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
