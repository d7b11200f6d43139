-- The rollups that have tables or views, by the prefix of their names. Read by engine/meters/registry.py to drop what a
-- crash left.
SELECT DISTINCT extract(name, '^(meter_.*_[0-9a-f]{8})_(?:minute|quarter|day)') AS rollup
FROM system.tables
WHERE database = currentDatabase() AND match(name, '^meter_.*_[0-9a-f]{8}_(minute|quarter|day)(_view)?$')
