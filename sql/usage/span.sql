-- The first and last minute with an event of a meter, from its coarsest grain. Bounds a query that was given none.
SELECT
    toInt64(toUnixTimestamp(min(first_minute))),
    toInt64(toUnixTimestamp(max(last_minute)))
FROM (
${segments}
)
