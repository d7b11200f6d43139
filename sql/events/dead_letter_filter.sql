-- The condition that selects dead letters. A filter that is NULL, or an empty list of positions, selects all of them.
-- Part of events/dead_letters, events/dead_letters_chosen, events/dead_letters_left and events/dead_letters_at.
({from_ms:Nullable(Int64)} IS NULL OR arrived_at >= fromUnixTimestamp64Milli({from_ms:Nullable(Int64)}, 'UTC'))
    AND ({to_ms:Nullable(Int64)} IS NULL OR arrived_at < fromUnixTimestamp64Milli({to_ms:Nullable(Int64)}, 'UTC'))
    AND ({partition:Nullable(Int32)} IS NULL OR log_partition = {partition:Nullable(Int32)})
    AND ({offset:Nullable(Int64)} IS NULL OR log_offset = {offset:Nullable(Int64)})
    AND ({reason:Nullable(String)} IS NULL OR position(reason, {reason:Nullable(String)}) > 0)
    AND ({replayed:Nullable(Bool)} IS NULL OR {replayed:Nullable(Bool)} = (
        (arrived_at, log_partition, log_offset)
        IN (SELECT arrived_at, log_partition, log_offset FROM dead_letter_replays)))
    AND (empty({places:Array(Tuple(Int64, Int32, Int64))})
        OR (arrived_at, log_partition, log_offset) IN (
            SELECT fromUnixTimestamp64Milli(place.1, 'UTC'), place.2, place.3
            FROM (SELECT arrayJoin({places:Array(Tuple(Int64, Int32, Int64))}) AS place)))
