-- The distinct values of one key over the pieces of a range, in order, as many as a page and one more. Read by the
-- listings of subjects and values.
SELECT DISTINCT ${key} AS item
FROM (
${segments}
)
WHERE (empty({search:String}) OR positionCaseInsensitiveUTF8(item, {search:String}) > 0)
    AND (isNull({after:Nullable(String)}) OR item > {after:Nullable(String)})
ORDER BY item
LIMIT {limit:UInt64}
