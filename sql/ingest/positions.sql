-- The positions up to which the partitions of a topic are stored.
-- Read by ingest/stored_positions.py when partitions are assigned.
SELECT topic_id, partition, max(position) FROM log_positions WHERE topic = {topic:String} GROUP BY topic_id, partition
