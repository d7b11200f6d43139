-- The recorded tokens that an invalidation is about: one by id, all of a subject, or both.
-- Read by engine/tokens/portal_tokens.py.
SELECT
    id, version, subject, allowed_meter_slugs,
    toUnixTimestamp64Milli(created_at), toUnixTimestamp64Milli(expires_at), toUnixTimestamp64Milli(revoked_at)
FROM portal_tokens FINAL
WHERE id = {id:Nullable(String)} OR subject = {subject:Nullable(String)}
