-- Whether this user has a right: 1 or 0. It takes the user's roles and readonly settings into account.
-- Read by engine/store/inspection.py, for `meterport doctor`.
CHECK GRANT ${right}
