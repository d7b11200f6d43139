-- Records after a position, in order. Read by ingest/sqlite_log.py.
SELECT position, arrived_ms, value FROM records WHERE position > ? ORDER BY position LIMIT ?
