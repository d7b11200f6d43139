-- Which of the given settings the user of this connection may set, and their maximum (NULL: any value).
-- Read by engine/store/clickhouse.py when a store is opened.
SELECT name, max FROM system.settings WHERE name IN {names:Array(String)} AND NOT readonly
