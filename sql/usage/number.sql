-- The exact number a text stands for, as Nullable(Decimal(76, 19)): NULL where it is no number, or not one that
-- 38 integer and 19 fraction digits hold exactly. toDecimal256OrNull alone reads '.', '-' and 'e5' as 0 and cuts
-- digits in silence, so the text is checked first. Plain short numbers take the first branch; exponents and long
-- digit strings are rewritten without either before they are read.
-- Read by: every rollup view, fills, and queries on raw events.
if(match(${text}, '^[+-]?[0-9]{1,38}(\\.[0-9]{1,19})?$'),
    toDecimal256OrNull(${text}, 19),
    if(match(${text}, '^[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?$'),
        arrayFirstOrNull(x -> true, arrayMap(
            (significant, places) -> multiIf(
                significant = '', toDecimal256(0, 19),
                places > 19 OR toInt64(length(significant)) - places > 38, NULL,
                toDecimal256OrNull(concat(
                    if(startsWith(${text}, '-'), '-', ''),
                    if(places <= 0,
                        concat(significant, repeat('0', least(greatest(-places, 0), 38))),
                        concat(
                            if(length(significant) > places,
                                substring(significant, 1, greatest(toInt64(length(significant)) - places, 0)), '0'),
                            '.',
                            repeat('0', least(greatest(places - toInt64(length(significant)), 0), 19)),
                            if(length(significant) > places,
                                substring(significant, toInt64(length(significant)) - places + 1), significant)))),
                    19)),
            [replaceRegexpOne(replaceRegexpOne(
                replaceOne(extract(${text}, '^[+-]?([0-9.]+)'), '.', ''), '^0+', ''), '0+$', '')],
            [toInt64(length(extract(${text}, '^[+-]?[0-9]*\\.?([0-9]*)')))
                - if(match(${text}, '[eE][+-]?0*[0-9]{1,6}$'),
                    toInt64OrZero(replaceRegexpOne(extract(${text}, '[eE]([+-]?[0-9]+)$'), '^\\+', '')),
                    if(match(${text}, '[eE]'), if(match(${text}, '[eE]-'), -1000000, 1000000), 0))
                - toInt64(length(extract(replaceOne(extract(${text}, '^[+-]?([0-9.]+)'), '.', ''), '(0*)$')))])),
        NULL))
