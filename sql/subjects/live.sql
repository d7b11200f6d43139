-- The subjects that are not deleted and have a key or an id in `names`, oldest first. Read by engine/subjects.py.
SELECT
    id, version, key, definition, toUnixTimestamp64Milli(created_at), toUnixTimestamp64Milli(updated_at)
FROM subjects FINAL
WHERE isNull(deleted_at)
    AND (key IN {names:Array(String)} OR id IN {names:Array(String)})
ORDER BY created_at, id
