-- Derives the duplicate index from the events themselves. So there is no moment in which a key is in the index
-- and its event is not stored.
CREATE MATERIALIZED VIEW IF NOT EXISTS event_keys_view TO event_keys AS
SELECT key, log_partition, log_offset, stored_at
FROM events
