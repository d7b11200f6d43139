-- The distinct values of one key over the pieces of a range, in order. Read by the listings of subjects and values.
SELECT DISTINCT ${key} AS item
FROM (
${pieces}
)
ORDER BY item
