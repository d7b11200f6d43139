-- The clock of the server in Unix milliseconds, which its time zone does not change.
-- Read by engine/store/inspection.py, for `meterport doctor`.
SELECT toUnixTimestamp64Milli(now64(3))
