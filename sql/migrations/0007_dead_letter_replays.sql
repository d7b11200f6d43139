-- Which dead letters were replayed: their events are in the event log again, or were stored already.
-- Grain: one row a dead letter, by its position. A replay that was interrupted and repeated writes the same row twice.
-- ORDER BY: the same as that of dead_letters, so that a page of them finds its rows here.
-- Written by the replay; read by the listing of dead letters.
CREATE TABLE IF NOT EXISTS dead_letter_replays
(
    arrived_at DateTime64(3, 'UTC'),
    log_partition Int32,
    log_offset Int64,
    replayed_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (arrived_at, log_partition, log_offset)
