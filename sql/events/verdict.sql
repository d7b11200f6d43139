-- The verdict on one meter's value in an event: 'counted', or one word for the reason why it was not. The expression
-- that fills the rollups (usage/number) decides whether the value counts, so the two cannot disagree. The rest of this
-- expression only finds the reason.
-- `kinds`: the JSON types of all values that the path matches, in order. The text is that of the first scalar.
-- Part of events/verdicts.
multiIf(
    isNotNull(${number}), 'counted',
    data IN ('', 'null'), 'absent',
    NOT isValidJSON(data), 'unreadable',
    empty(${kinds}), 'missing',
    arrayFirst(kind -> kind NOT IN ('Object', 'Array'), ${kinds}) = 'Null', 'null',
    arrayFirst(kind -> kind NOT IN ('Object', 'Array'), ${kinds}) = 'Bool', 'bool',
    arrayFirst(kind -> kind NOT IN ('Object', 'Array'), ${kinds}) = '', lower(${kinds}[1]),
    match(${text}, '^[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?$'), 'digits',
    'text')
