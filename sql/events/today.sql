-- Events of today by subject, for GET /api/v1/debug/metrics. Read by engine/listings.py.
SELECT subject, count()
FROM events
WHERE time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') AND time < fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') + INTERVAL 1 DAY
GROUP BY subject
ORDER BY subject
