-- The content of stored events that have one of these keys, and one of these combinations of type, subject and time.
-- One granule of the primary key is read for each combination. Read by ingest/differing_duplicates.py.
SELECT
    key, type, subject, toUnixTimestamp64Milli(time) AS time_ms, toUnixTimestamp64Milli(arrived_at) AS arrived_ms,
    MD5(concat(extensions, '\n', data)) AS content
FROM events
WHERE (type, subject, time) IN (
        SELECT place.1, place.2, fromUnixTimestamp64Milli(place.3, 'UTC')
        FROM (SELECT arrayJoin(arrayZip({types:Array(String)}, {subjects:Array(String)}, {times:Array(Int64)})) AS place))
    AND key IN (SELECT toFixedString(unhex(arrayJoin({keys:Array(String)})), 16))
