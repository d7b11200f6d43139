-- What the numeric meters of one event type made of each event of a page: a verdict (events/verdict) and the text found.
-- The events are read again where they stand, by the columns the table is ordered by: the bounds and the subjects of
-- the page leave a few granules. Extraction is that of the rollup views, on the same rows.
-- Read by engine/validation.py.
SELECT log_partition, log_offset, ${verdicts}
FROM (
    SELECT log_partition, log_offset, data, ${texts}
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
