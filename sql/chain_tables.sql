-- The tables an insert of events reaches, and the registry of meters, with how each was created. Read at start to check
-- their deduplication windows.
-- A table that another process drops at this moment is listed, but without its definition.
SELECT name, create_table_query
FROM system.tables
WHERE database = currentDatabase()
    AND (name IN ('events', 'event_keys', 'dead_letters', 'meters') OR match(name, '^meter_.*_(minute|quarter|day)$'))
    AND engine NOT LIKE '%View'
    AND create_table_query != ''
