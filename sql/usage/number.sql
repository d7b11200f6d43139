-- The exact number a text stands for, as Nullable(Decimal(76, 19)): NULL where it is no number, or not one that
-- 38 integer and 19 fraction digits hold exactly. toDecimal256OrNull alone reads '.', '-' and 'e5' as 0 and cuts
-- digits in silence, so the text is checked first. Plain short numbers take the first branch. Any other text is split
-- into `part`: its sign, the digits before and behind the point, and the exponent. It is read again as `significant`,
-- the digits without the zeros at both ends, and an exponent; `places` is how many of them belong behind the point.
-- The expression is short because ClickHouse analyses it for every block and for every query of raw events.
-- Read by: every rollup view, fills, and queries on raw events.
if(match(${text}, '^[+-]?[0-9]{1,38}(\\.[0-9]{1,19})?$'),
    toDecimal256OrNull(${text}, 19),
    arrayMap(part -> arrayMap(
        (significant, places) -> toDecimal256OrNull(multiIf(
            significant = '', concat(part[2], part[3]),
            places > 19 OR length(significant) - places > 38, '',
            concat(part[1], significant, 'e', toString(-places))), 19),
        [trim(BOTH '0' FROM concat(part[2], part[3]))],
        [length(trim(TRAILING '0' FROM concat(part[2], part[3]))) - length(part[2]) - toFloat64OrZero(part[4])])[1],
    [extractGroups(${text}, '^([+-]?)([0-9]*)\\.?([0-9]*)(?:[eE]([+-]?[0-9]+))?$')])[1])
