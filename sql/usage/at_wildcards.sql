-- What a path with wildcards matches: in data that is not short, among the first elements of arrays only, for the engine
-- walks an array anew for each of them. ${function}: JSON_VALUE or JSON_QUERY; it takes literals alone as paths.
-- Read by: every rollup view, fills, queries on raw events, events/found.
if(length(data) < ${whole_bytes}, ${function}(data, ${path}), ${function}(data, ${first_elements}))
