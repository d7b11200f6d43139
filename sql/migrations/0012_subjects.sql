-- Subjects that were given a name or metadata through the API. Usage does not need them.
-- Grain: one row a change of a subject, highest version wins.
CREATE TABLE IF NOT EXISTS subjects
(
    id String,
    version UInt64,
    key String,
    definition String,
    created_at DateTime64(3, 'UTC'),
    updated_at DateTime64(3, 'UTC'),
    deleted_at Nullable(DateTime64(3, 'UTC'))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id
