-- The tables and views of the current database that this user may see.
-- Read by engine/store/inspection.py, for `meterport doctor`.
SELECT name FROM system.tables WHERE database = currentDatabase()
