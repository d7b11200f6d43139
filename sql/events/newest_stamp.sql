-- The stamp of the newest batch of events; 0 if there was none in 30 days. Whatever is stored from now on has a later
-- stamp. The query reads one row for each batch, not one for each event. Read by engine/events/outcomes.py.
SELECT toUnixTimestamp64Milli(max(stored_at)) FROM event_claims WHERE token != ''
