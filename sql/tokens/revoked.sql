-- The tokens that are revoked and would be accepted otherwise. Read once a second by every process that verifies tokens.
-- No FINAL: a revocation is never taken back, so one version of a token that carries it is enough.
SELECT DISTINCT id
FROM portal_tokens
WHERE isNotNull(revoked_at) AND expires_at > fromUnixTimestamp64Milli({now_ms:Int64}, 'UTC')
