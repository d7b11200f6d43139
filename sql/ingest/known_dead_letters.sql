-- Which of these records are dead letters already, and since when. Asked for the few a batch has.
SELECT log_partition, log_offset, toUnixTimestamp64Milli(arrived_at), toUnixTimestamp64Milli(stored_at)
FROM dead_letters
WHERE arrived_at IN (SELECT fromUnixTimestamp64Milli(arrayJoin({arrived_ms:Array(Int64)}), 'UTC'))
