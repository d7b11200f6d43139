-- The number of events of today by subject, for GET /api/v1/debug/metrics: the subjects with the most events, and all
-- other subjects together under an empty name, which no subject has. Read by engine/events/listing.py.
SELECT if(place <= {most:UInt64}, subject, '') AS shown, sum(events)
FROM (
    SELECT subject, count() AS events, row_number() OVER (ORDER BY count() DESC, subject) AS place
    FROM events
    WHERE time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') AND time < fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') + INTERVAL 1 DAY
    GROUP BY subject
)
GROUP BY shown
ORDER BY shown
