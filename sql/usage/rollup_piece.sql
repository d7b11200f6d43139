-- Stretches of a range from one grain of a rollup.
SELECT
    ${start} AS start,
    ${keys}
    first_minute,
    last_minute,
    ${columns}
FROM ${table}
WHERE ${subjects} (${ranges})${filters}
