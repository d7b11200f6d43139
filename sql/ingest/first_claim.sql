-- The block number of the first claim of a plan, by any process; 0 if the plan was not claimed. Read by
-- ingest/claims.py.
SELECT min(_block_number) FROM event_claims WHERE token = {token:String}
