-- Tokens, newest first, each until 30 days after its expiry. `subject` NULL: the tokens of all subjects.
-- Read by engine/tokens/portal_tokens.py.
SELECT
    id, version, subject, allowed_meter_slugs,
    toUnixTimestamp64Milli(created_at), toUnixTimestamp64Milli(expires_at), toUnixTimestamp64Milli(revoked_at)
FROM portal_tokens FINAL
WHERE ({subject:Nullable(String)} IS NULL OR subject = {subject:Nullable(String)})
    AND expires_at > fromUnixTimestamp64Milli({now_ms:Int64}, 'UTC') - INTERVAL 30 DAY
ORDER BY created_at DESC, id DESC
LIMIT {limit:UInt32}
