-- Which batch said first that it will store which events, and from when on nothing older is stored any more.
-- Grain: one row each time a process is about to store a batch, before it looks for duplicates; and one barrier
-- (token '') each time a meter's fill begins: from there on no batch stamped before `stored_at` is begun.
-- The order of rows is that of their block numbers, in which MergeTree makes them visible. `keys`: 16 bytes an event,
-- only where other processes share the store; wanted by them while the batch is under way, and soon forgotten.
-- ORDER BY claimed_at: only what came since the last look is read. Written and read by ingest/claims.py.
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
