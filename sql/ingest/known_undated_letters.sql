-- The dead letters at some log positions whose records had no usable timestamp, with their values. Their arrival is the
-- stamp of their plan. It does not identify them, because it is different each time the topic is read.
-- Read by ingest/dead_letters.py for the few dead letters of a batch.
SELECT log_partition, log_offset, toUnixTimestamp64Milli(stored_at), base64Encode(value)
FROM dead_letters
WHERE arrived_at = stored_at
    AND (log_partition, log_offset) IN (SELECT tupleElement(arrayJoin(
        arrayZip({partitions:Array(Int32)}, {offsets:Array(Int64)})) AS place, 1), tupleElement(place, 2))
