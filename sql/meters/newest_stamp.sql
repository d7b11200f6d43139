-- The latest instant at which any event was stored or is about to be stored; the epoch if there is none.
-- Read by engine/meters/registry.py.
SELECT greatest((SELECT max(stored_at) FROM event_keys), (SELECT max(stored_at) FROM event_claims))
