-- The position that the next record will get. Read by ingest/sqlite_log.py at start.
SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'records'
