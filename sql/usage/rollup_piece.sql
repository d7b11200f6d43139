-- A stretch of a range from one grain of a rollup.
SELECT
    ${start} AS start,
    ${keys}
    first_minute,
    last_minute,
    ${columns}
FROM ${table}
WHERE ${subjects} window >= toDateTime(${from_second}, 'UTC') AND window < toDateTime(${to_second}, 'UTC') AND ${filters}
