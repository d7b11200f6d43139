-- The release of ClickHouse and the user of this connection, who may only read if `readonly` is not 0.
-- Read by engine/store/inspection.py, for `meterport doctor`.
SELECT version(), currentUser(), toInt64(getSetting('readonly'))
