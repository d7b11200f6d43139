-- The block number of the newest claim, and when it was written; 0 if there is none. The time is at most the present: a
-- claim from a clock that was ahead would otherwise hide all claims after it. Read by ingest/claims.py.
SELECT max(_block_number), toUnixTimestamp64Milli(least(max(claimed_at), now64(3))) FROM event_claims
