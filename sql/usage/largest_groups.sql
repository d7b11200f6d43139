-- The segments of a range in which only the largest groups keep their keys. All other groups get NULL as their key,
-- which no event has, so they become one group. ${totals}: usage/groups. Part of usage/groups.
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
