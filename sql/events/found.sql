-- The text at a meter's value property, as the rollup views take it, and the JSON types of all that the path matches.
-- Part of events/verdicts.
${value} AS ${text},
arrayMap(raw -> toString(JSONType(raw)), JSONExtractArrayRaw(${matches})) AS ${kinds}
