-- The condition of a fill: a range of event time, among the events that were stored before the views took over.
stored_at < fromUnixTimestamp64Milli(${visible_from_ms}, 'UTC')
    AND time >= fromUnixTimestamp64Milli(${start_ms}, 'UTC') AND time < fromUnixTimestamp64Milli(${end_ms}, 'UTC')
