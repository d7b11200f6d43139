-- Which of these records are already stored as dead letters, and when they were stored.
-- Read by ingest/dead_letters.py for the few dead letters of a batch.
SELECT log_partition, log_offset, toUnixTimestamp64Milli(arrived_at), toUnixTimestamp64Milli(stored_at)
FROM dead_letters
WHERE arrived_at IN (SELECT fromUnixTimestamp64Milli(arrayJoin({arrived_ms:Array(Int64)}), 'UTC'))
