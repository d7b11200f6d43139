-- The display names of subjects that are not deleted: of those with a key in `keys`, or of all if `keys` is empty.
-- Read by engine/subjects.py for CSV answers; part of usage/named.
SELECT key, JSONExtract(definition, 'displayName', 'Nullable(String)') AS display_name
FROM subjects FINAL
WHERE isNull(deleted_at) AND (empty({keys:Array(String)}) OR key IN {keys:Array(String)})
ORDER BY created_at, id
LIMIT 1 BY key
