-- Which of the given table engines the server has.
-- Read by engine/store/inspection.py, for `meterport doctor`.
SELECT name FROM system.table_engines WHERE name IN {names:Array(String)}
