-- The pieces of a range in which only the largest groups keep their keys: those of all others are NULL, which no key of
-- an event is, so they are one group. ${totals} is usage/group_totals. Part of usage/usage.
SELECT * EXCEPT (is_largest) REPLACE (${replaced})
FROM (
    SELECT *, (${keys}) IN (
        SELECT ${keys}
        FROM (
${totals}
        )
        ORDER BY usage DESC, ${keys}
        LIMIT {largest:UInt64}
    ) AS is_largest
    FROM (
${segments}
    )
)
