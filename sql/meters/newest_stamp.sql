-- The latest instant any event is stored at, or about to be; the epoch when there is none.
SELECT greatest((SELECT max(stored_at) FROM event_keys), (SELECT max(stored_at) FROM event_claims))
