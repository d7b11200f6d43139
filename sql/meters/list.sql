-- The newest version of every meter. Read by engine/meters/registry.py.
SELECT
    id, version, slug, state, definition, rollup, visible_from, filled_to, created_at, updated_at, deleted_at
FROM meters FINAL
