-- What became of one meter's value in an event: 'counted', or in one word why not. Asked of the expression that fills
-- the rollups (usage/number), so that the two cannot disagree; everything after it only finds the reason.
-- `kinds`: JSON types of the matches of the path, in order. The text is that of the first one that is a scalar.
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
