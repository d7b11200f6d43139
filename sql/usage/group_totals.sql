-- The groups of a question with their usage in the whole of its range. Part of usage/largest_groups; counted by
-- engine/usage/statement.py.
SELECT ${keys}, ${value} AS usage
FROM (
${segments}
)
GROUP BY ${keys}
${having}
