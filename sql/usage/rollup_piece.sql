-- Segments of a range from one grain of a rollup. Part of usage/usage.
SELECT
    ${start} AS start,
    ${keys}
    first_minute,
    last_minute,
    ${columns}
FROM ${table}
WHERE ${subjects} (${ranges})${filters}
