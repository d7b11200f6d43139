-- Segments of a range from the events themselves: those that no minute boundary covers, or all of them while a rollup
-- is being filled. Part of usage/groups.
SELECT ${output}
FROM (
    SELECT
        subject, time, log_partition, log_offset,
        intDiv(toUnixTimestamp64Milli(time), 1000) AS second,
        ${extracted}
    FROM events
    WHERE ${subjects} type = {event_type:String}
        AND ${ranges}
)
${filters}
GROUP BY ${group}
