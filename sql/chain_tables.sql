-- The tables that an insert of events reaches, and the registry of meters, each with the statement that created it.
-- Read by engine/store/clickhouse.py at start, to check their deduplication windows.
-- A table that another process is dropping at this moment is listed without its statement; it is left out.
SELECT name, create_table_query
FROM system.tables
WHERE database = currentDatabase()
    AND (name IN ('events', 'event_keys', 'dead_letters', 'meters') OR match(name, '^meter_.*_(minute|quarter|day)$'))
    AND engine NOT LIKE '%View'
    AND create_table_query != ''
