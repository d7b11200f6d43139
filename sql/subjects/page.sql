-- A page of the subjects that are not deleted, oldest first, after the cursor `after_ms`, `after_id`. If several
-- subjects have one key, only the first is listed. Read by engine/subjects.py.
SELECT id, version, key, definition, toUnixTimestamp64Milli(created_at), toUnixTimestamp64Milli(updated_at)
FROM (
    SELECT id, version, key, definition, created_at, updated_at
    FROM subjects FINAL
    WHERE isNull(deleted_at)
    ORDER BY created_at, id
    LIMIT 1 BY key
)
WHERE (toUnixTimestamp64Milli(created_at), id) > ({after_ms:Int64}, {after_id:String})
ORDER BY created_at, id
LIMIT {limit:UInt64}
