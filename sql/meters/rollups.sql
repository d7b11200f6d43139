-- The rollups whose tables or views stand, by the prefix of their names. Read to drop what a crash left.
SELECT DISTINCT extract(name, '^(meter_.*_[0-9a-f]{8})_(?:minute|quarter|day)') AS rollup
FROM system.tables
WHERE database = currentDatabase() AND match(name, '^meter_.*_[0-9a-f]{8}_(minute|quarter|day)(_view)?$')
