-- What the subjects that are not deleted are called; of those with a key among `keys`, or all if `keys` is empty.
-- Read by engine/subjects.py for the CSV answers.
SELECT key, JSONExtract(definition, 'displayName', 'Nullable(String)') AS display_name
FROM subjects FINAL
WHERE isNull(deleted_at) AND (empty({keys:Array(String)}) OR key IN {keys:Array(String)})
ORDER BY created_at, id
LIMIT 1 BY key
