-- The newest claim of each process in the last three hours, and every barrier and refusal, oldest first.
-- Read by ingest/claims.py when a process starts.
SELECT _block_number, owner, token, toUnixTimestamp64Milli(stored_at), events, base64Encode(keys), toUnixTimestamp64Milli(claimed_at)
FROM event_claims
WHERE _block_number IN (
    SELECT max(_block_number) FROM event_claims
    WHERE token != '' AND NOT startsWith(token, 'refused ') AND claimed_at >= now64(3) - INTERVAL 3 HOUR
    GROUP BY owner
    UNION ALL
    SELECT _block_number FROM event_claims WHERE token = '' OR startsWith(token, 'refused ')
)
ORDER BY _block_number
