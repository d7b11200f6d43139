-- The number of records in the log and their bytes. Read by ingest/sqlite_log.py at start.
SELECT count(*), coalesce(sum(length(value)), 0) FROM records
