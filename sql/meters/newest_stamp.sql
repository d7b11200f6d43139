-- The latest instant any event is said to be stored at; the epoch when there is none.
SELECT max(stored_at) FROM event_keys
