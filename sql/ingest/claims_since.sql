-- The claims that were written after block `last`, oldest first. The keys of this process's own claims are left out,
-- because it knows them. Read by ingest/claims.py.
SELECT _block_number, owner, token, toUnixTimestamp64Milli(stored_at), events,
    if(owner = {owner:String}, '', base64Encode(keys)), toUnixTimestamp64Milli(claimed_at)
FROM event_claims
WHERE claimed_at >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC') AND _block_number > {last:UInt64}
ORDER BY _block_number
