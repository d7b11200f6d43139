-- The invalidations that still matter: tokens by id, and the instants until which the issued tokens of a subject, or of
-- all subjects, are invalid. Read by engine/tokens/invalidations.py twice a second in every process that verifies
-- tokens. `oldest_ms`: all tokens that were issued before it have expired. FINAL is not needed, because an invalidation
-- is never withdrawn.
SELECT kind, name, toUnixTimestamp64Milli(max(issued_until))
FROM portal_invalidations
WHERE expires_at > fromUnixTimestamp64Milli({now_ms:Int64}, 'UTC')
    AND issued_until > fromUnixTimestamp64Milli({oldest_ms:Int64}, 'UTC')
GROUP BY kind, name
UNION ALL
SELECT DISTINCT 'id' AS kind, id AS name, toInt64(0)
FROM portal_tokens
WHERE isNotNull(revoked_at) AND expires_at > fromUnixTimestamp64Milli({now_ms:Int64}, 'UTC')
