-- The text at a meter's value property, extracted as in the rollup views, and the JSON types of all values that the
-- path matches. Part of events/verdicts.
${value} AS ${text},
arrayMap(raw -> toString(JSONType(raw)), JSONExtractArrayRaw(${matches})) AS ${kinds}
