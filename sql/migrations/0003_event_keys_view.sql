-- Derives the duplicate index from the events themselves, so that there is no moment in which
-- an id is claimed and its event is not stored.
CREATE MATERIALIZED VIEW IF NOT EXISTS event_keys_view TO event_keys AS
SELECT key, log_partition, log_offset, stored_at
FROM events
