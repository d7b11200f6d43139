-- The number of records, and their bytes, that the acknowledgement of a batch frees. Read by ingest/sqlite_log.py.
SELECT count(*), coalesce(sum(length(value)), 0) FROM records WHERE position < ?
