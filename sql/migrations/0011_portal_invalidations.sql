-- Invalidations of portal tokens. Each is valid by itself, whether or not `portal_tokens` has a row of the token.
-- Grain: one row an invalidation; of those with the same kind and name the one that reaches furthest wins.
-- kind 'id': the token `name`; 'subject': every token of the subject `name`; 'all': every token, `name` is empty.
-- 'subject' and 'all' cover the tokens issued until `issued_until`, including that millisecond. A row is forgotten at
-- `expires_at`, when no such token can be valid any more, whatever portal.max_token_seconds is.
-- ORDER BY kind, name: creating a token reads the invalidations of its subject.
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
