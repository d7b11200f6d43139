-- The migrations that have begun, those of a newer release too, and whether they have completed.
-- Read by engine/store/migrations.py at the start of a process.
SELECT name, hash, needs, completed_at IS NOT NULL
FROM schema_migrations FINAL
ORDER BY name
