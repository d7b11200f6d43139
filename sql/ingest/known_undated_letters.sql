-- Dead letters at some positions that arrived by our own clock, with their record: their arrival does not tell them
-- apart, because it is another one each time a topic is read. Asked for the few a batch has.
SELECT log_partition, log_offset, toUnixTimestamp64Milli(stored_at), base64Encode(value)
FROM dead_letters
WHERE arrived_at = stored_at
    AND (log_partition, log_offset) IN (SELECT tupleElement(arrayJoin(
        arrayZip({partitions:Array(Int32)}, {offsets:Array(Int64)})) AS place, 1), tupleElement(place, 2))
