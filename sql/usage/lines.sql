-- The lines of a CSV answer without their windows. ${groups}: usage/groups. ${join}: nothing, or usage/named.
-- Part of usage/usage.
SELECT ${output}
FROM (
${groups}
) AS answered
${join}
