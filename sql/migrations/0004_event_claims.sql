-- Claims: which batch was the first to say that it will store which events; and barriers, before which nothing older
-- is stored any more.
-- Grain: one row each time a process is about to store a batch, before it looks for duplicates; and one barrier (token
-- '') each time the fill of a meter begins: after it no batch with a stamp before `stored_at` is begun.
-- Rows are read in the order of their block numbers, in which MergeTree makes them visible. `keys` holds 16 bytes an
-- event, and only where several processes share the store: they need the keys while the batch is under way.
-- ORDER BY claimed_at: a process reads only what came since its last look.
-- Written and read by ingest.
CREATE TABLE IF NOT EXISTS event_claims
(
    token String,
    owner LowCardinality(String),
    stored_at DateTime64(3, 'UTC'),
    events UInt32,
    keys String TTL toDateTime(claimed_at) + INTERVAL 3 HOUR,
    claimed_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree
PARTITION BY toDate(claimed_at)
ORDER BY claimed_at
TTL toDateTime(claimed_at) + INTERVAL 30 DAY
SETTINGS enable_block_number_column = 1, merge_with_ttl_timeout = 3600
