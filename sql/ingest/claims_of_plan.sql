-- The number of claims of a plan, and how many of them have keys and are newer than what was read (block `last`).
-- Read by ingest/claims.py when a process starts, for each plan that is not acknowledged.
SELECT count(), countIf(keys != '' AND _block_number > {last:UInt64}) FROM event_claims WHERE token = {token:String}
