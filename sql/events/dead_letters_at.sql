-- Complete dead letters as bytes, oldest first. It is used for a few thousand of them, given their positions.
-- Read by engine/dead_letters/replay.py; ${filter} is events/dead_letter_filter.
SELECT toUnixTimestamp64Milli(arrived_at), log_partition, log_offset,
    toUnixTimestamp64Milli(stored_at), reason, base64Encode(value), headers
FROM dead_letters
WHERE ${filter}
ORDER BY arrived_at, log_partition, log_offset
