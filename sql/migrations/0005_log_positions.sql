-- Up to which position each log has been stored here: every record before `position` is stored, or was not to be
-- stored.
-- Grain: one row a note about a partition, the highest position wins; partition -1 says only that the topic is known.
-- If the committed offset of a group is past `position`, this store lacks records: it is an older copy, or another
-- store.
-- `topic_id` tells a topic from a later one of the same name; it is '' where brokers give none.
-- Written and read by ingest.
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
