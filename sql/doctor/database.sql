-- Whether a database exists that this user may see: one row, or none.
-- Read by engine/store/inspection.py, because a store cannot be opened in a database that does not exist.
SELECT 1 FROM system.databases WHERE name = {name:String}
