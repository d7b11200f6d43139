-- The first and the last minute with an event of a meter, from its coarsest grain. They narrow a query without bounds.
-- Read by engine/usage/statement.py.
SELECT
    toInt64(toUnixTimestamp(min(first_minute))),
    toInt64(toUnixTimestamp(max(last_minute)))
FROM (
${segments}
)
