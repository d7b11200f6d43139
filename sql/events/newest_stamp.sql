-- When the newest batch of events was stamped, 0 if there was none in 30 days: what is stored from now on is stamped
-- later. One row a batch is read, not one an event. Read by engine/events/outcomes.py.
SELECT toUnixTimestamp64Milli(max(stored_at)) FROM event_claims WHERE token != ''
