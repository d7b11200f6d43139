-- Which dead letters were replayed: their events were made durable in the event log again, or were stored already.
-- Grain: one row a letter, by its position; a replay that was cut off and repeated may write it twice, to the same end.
-- ORDER BY: as the letters are, so that a page of them finds its marks. Written and read by engine/replay.py, read by
-- the listing of dead letters.
CREATE TABLE IF NOT EXISTS dead_letter_replays
(
    arrived_at DateTime64(3, 'UTC'),
    log_partition Int32,
    log_offset Int64,
    replayed_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (arrived_at, log_partition, log_offset)
