-- For each event of a page, the verdict and the text that was found, for each numeric meter of one event type. The
-- events are read again from `events`: their subjects and the time bounds of the page leave only a few granules.
-- Read by engine/events/uncounted_reasons.py; ${verdicts} and ${found} are events/verdict and events/found of each
-- meter.
SELECT log_partition, log_offset, ${verdicts}
FROM (
    SELECT log_partition, log_offset, data, ${found}
    FROM events
    WHERE type = {event_type:String}
        AND subject IN {subjects:Array(String)}
        AND time >= fromUnixTimestamp64Milli({first_ms:Int64}, 'UTC')
        AND time <= fromUnixTimestamp64Milli({last_ms:Int64}, 'UTC')
        AND (log_partition, log_offset) IN {positions:Array(Tuple(Int32, Int64))}
)
SETTINGS
    function_json_value_return_type_allow_nullable = 0,
    function_json_value_return_type_allow_complex = 0
