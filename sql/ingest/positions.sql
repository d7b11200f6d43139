-- Up to where the partitions of a topic are stored. Asked when partitions are assigned.
SELECT topic_id, partition, max(position) FROM log_positions WHERE topic = {topic:String} GROUP BY topic_id, partition
