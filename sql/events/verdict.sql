-- Why the value at a meter's value property did not count, as one word; 'counted' if it did. Asked of the same
-- expression that fills the rollups (usage/number), so that the two cannot disagree; the rest only finds the reason.
-- The kind is that of the first scalar among the matches of the path, whose text JSON_VALUE gives, else of the first.
-- Read by engine/validation.py through events/verdicts.
multiIf(
    isNotNull(${number}), 'counted',
    data IN ('', 'null'), 'absent',
    NOT isValidJSON(data), 'unreadable',
    arrayFirst(x -> true, arrayMap(
        kinds -> multiIf(
            empty(kinds), 'missing',
            arrayFirst(kind -> kind NOT IN ('Object', 'Array'), [arrayFirst(kind -> kind NOT IN ('Object', 'Array'), kinds), kinds[1]]) = 'Null', 'null',
            kinds[1]),
        [arrayMap(raw -> toString(JSONType(raw)), JSONExtractArrayRaw(JSON_QUERY(data, ${path})))])))
