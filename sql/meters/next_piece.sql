-- The last hour of the next segment of a fill: the first hour by which there are enough events, or the last hour with
-- events. Read by engine/meters/fill.py.
SELECT if(count() = 0, NULL, if(countIf(running >= {events:UInt64}) > 0, minIf(hour, running >= {events:UInt64}), max(hour)))
FROM (
    SELECT hour, sum(n) OVER (ORDER BY hour ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS running
    FROM (
        SELECT toStartOfHour(toDateTime(time, 'UTC')) AS hour, count() AS n
        FROM events
        WHERE type = {event_type:String}
            AND stored_at < fromUnixTimestamp64Milli({visible_from_ms:Int64}, 'UTC')
            AND time >= fromUnixTimestamp64Milli({filled_to_ms:Int64}, 'UTC')
        GROUP BY hour
    )
)
