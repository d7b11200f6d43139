-- Portal tokens that were issued or revoked, without their text.
-- Grain: one row a change of a token, highest version wins.
-- ORDER BY id: revoked by id or subject, listed newest first. A token is forgotten 30 days after it expired.
CREATE TABLE IF NOT EXISTS portal_tokens
(
    id String,
    version UInt64,
    subject String,
    allowed_meter_slugs Array(String),
    created_at DateTime64(3, 'UTC'),
    expires_at DateTime64(3, 'UTC'),
    revoked_at Nullable(DateTime64(3, 'UTC'))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id
TTL toDateTime(expires_at) + INTERVAL 30 DAY
