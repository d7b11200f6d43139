-- What is invalidated and would be accepted otherwise: tokens by id, and up to when those of a subject, or all, were
-- issued. Read twice a second by every process that verifies tokens.
-- `oldest_ms`: no token issued before it is alive. No FINAL: an invalidation is never taken back.
SELECT kind, name, toUnixTimestamp64Milli(max(issued_until))
FROM portal_invalidations
WHERE expires_at > fromUnixTimestamp64Milli({now_ms:Int64}, 'UTC')
    AND issued_until > fromUnixTimestamp64Milli({oldest_ms:Int64}, 'UTC')
GROUP BY kind, name
UNION ALL
SELECT DISTINCT 'id' AS kind, id AS name, toInt64(0)
FROM portal_tokens
WHERE isNotNull(revoked_at) AND expires_at > fromUnixTimestamp64Milli({now_ms:Int64}, 'UTC')
