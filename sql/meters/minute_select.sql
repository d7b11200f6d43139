-- A meter's events as rows of its minute rollup: the body of its view, and of the fill of events that were stored
-- before it.
SELECT
    subject,
    toStartOfMinute(toDateTime(time, 'UTC')) AS window,
    ${dimensions}
    min(toStartOfMinute(toDateTime(time, 'UTC'))) AS first_minute,
    max(toStartOfMinute(toDateTime(time, 'UTC'))) AS last_minute,
    ${columns}
FROM (
    SELECT subject, time, log_partition, log_offset, ${extracted}
    FROM events
    WHERE type = ${event_type} AND ${stored}
)
GROUP BY subject, window${dimension_names}
