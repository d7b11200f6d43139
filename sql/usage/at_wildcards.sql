-- What a path with wildcards matches. In data that is not short, only the first elements of arrays are searched,
-- because ClickHouse walks through an array again for each of them. ${function}: JSON_VALUE or JSON_QUERY, which accept
-- only literals as paths. Part of every rollup view, of fills, of queries on raw events, and of events/found.
if(length(data) < ${whole_bytes}, ${function}(data, ${path}), ${function}(data, ${first_elements}))
