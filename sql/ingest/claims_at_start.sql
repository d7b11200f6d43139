-- The newest claim of each process of the last hours, and every barrier, oldest first. Read when a process starts.
SELECT _block_number, owner, token, toUnixTimestamp64Milli(stored_at), events, base64Encode(keys), toUnixTimestamp64Milli(claimed_at)
FROM event_claims
WHERE _block_number IN (
    SELECT max(_block_number) FROM event_claims
    WHERE token != '' AND claimed_at >= now64(3) - INTERVAL 3 HOUR
    GROUP BY owner
    UNION ALL
    SELECT _block_number FROM event_claims WHERE token = ''
)
ORDER BY _block_number
