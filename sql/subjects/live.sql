-- The subjects that are not deleted, oldest first; those with a key or id among `names`, or all if `names` is empty.
-- Read by engine/subjects.py.
SELECT
    id, version, key, definition, toUnixTimestamp64Milli(created_at), toUnixTimestamp64Milli(updated_at)
FROM subjects FINAL
WHERE isNull(deleted_at)
    AND (empty({names:Array(String)}) OR key IN {names:Array(String)} OR id IN {names:Array(String)})
ORDER BY created_at, id
