-- Up to where each log has been stored here: every record before `position` is stored, or was nothing to store.
-- Grain: one row a note of a partition, the highest position wins; partition -1 says that the topic is known at all.
-- A group's committed offset that is past `position` passes what this store does not hold: it is an older copy, or
-- another store. `topic_id` tells a topic from one of its name that was made anew; '' where brokers have none.
-- Written and read by ingest/log_positions.py.
CREATE TABLE IF NOT EXISTS log_positions
(
    topic String,
    topic_id String,
    partition Int32,
    position Int64,
    noted_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(position)
ORDER BY (topic, topic_id, partition)
