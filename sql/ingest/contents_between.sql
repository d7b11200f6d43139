-- The content of stored events that have one of these keys, one of these combinations of type and subject, and a time
-- in the range, and that were sent without a time, so that their time is their arrival. Read by
-- ingest/differing_duplicates.py.
SELECT
    key, type, subject, toUnixTimestamp64Milli(time) AS time_ms, toUnixTimestamp64Milli(arrived_at) AS arrived_ms,
    MD5(concat(extensions, '\n', data)) AS content
FROM events
WHERE (type, subject) IN (
        SELECT place.1, place.2
        FROM (SELECT arrayJoin(arrayZip({types:Array(String)}, {subjects:Array(String)})) AS place))
    AND time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') AND time <= fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
    AND time = arrived_at
    AND key IN (SELECT toFixedString(unhex(arrayJoin({keys:Array(String)})), 16))
