-- The groups of a query with their usage in the whole range. Part of usage/largest_groups; engine/usage/statement.py
-- also counts them.
SELECT ${keys}, ${value} AS usage
FROM (
${segments}
)
GROUP BY ${keys}
${having}
