-- The distinct values of one key in the segments of a range, in order: as many as a page has, and one more.
-- Read by engine/usage/distinct.py for the listings of subjects and values.
SELECT DISTINCT ${key} AS item
FROM (
${segments}
)
WHERE (empty({search:String}) OR positionCaseInsensitiveUTF8(item, {search:String}) > 0)
    AND (isNull({after:Nullable(String)}) OR item > {after:Nullable(String)})
ORDER BY item
LIMIT {limit:UInt64}
