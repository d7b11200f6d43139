-- The groups of a query with their usage, from the segments of its range.
-- ${source}: the one grain that answers the range, or usage/rollup_piece and usage/raw_piece joined by UNION ALL, or
-- usage/largest_groups of them. Part of usage/usage, usage/lines and usage/largest_groups.
SELECT ${output}
FROM ${source}
${grouping}
${having}
