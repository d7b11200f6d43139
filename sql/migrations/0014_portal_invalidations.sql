-- Invalidations of portal tokens: facts by themselves, whether or not `portal_tokens` has a row of the token.
-- Grain: one row an invalidation; of one kind and name the one that reaches furthest wins.
-- kind 'id': the token `name`; 'subject': every token of the subject `name`; 'all': every token, `name` is empty.
-- The last two are about tokens issued until `issued_until`, that millisecond included. A row is forgotten at
-- `expires_at`, when no such token can be alive, whatever portal.max_token_seconds is.
-- ORDER BY kind, name: a token is created after the invalidations of its subject. Written and read by
-- engine/revocations.py.
CREATE TABLE IF NOT EXISTS portal_invalidations
(
    kind LowCardinality(String),
    name String,
    issued_until DateTime64(3, 'UTC'),
    expires_at DateTime64(3, 'UTC'),
    invalidated_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(issued_until)
ORDER BY (kind, name)
TTL toDateTime(expires_at)
