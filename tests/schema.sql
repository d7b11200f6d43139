-- The schema as all migrations leave it. Made by METERPORT_TEST_RENEW=1 pytest tests/engine/store/test_migrations.py
CREATE TABLE dead_letter_replays
(
    `arrived_at` DateTime64(3, 'UTC'),
    `log_partition` Int32,
    `log_offset` Int64,
    `replayed_at` DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (arrived_at, log_partition, log_offset)
SETTINGS index_granularity = 8192;

CREATE TABLE dead_letters
(
    `arrived_at` DateTime64(3, 'UTC'),
    `stored_at` DateTime64(3, 'UTC'),
    `log_partition` Int32,
    `log_offset` Int64,
    `reason` String,
    `value` String CODEC(ZSTD(1)),
    `headers` String CODEC(ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (arrived_at, log_partition, log_offset)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 8192;

CREATE TABLE differing_duplicates
(
    `id` String,
    `source` LowCardinality(String),
    `type` LowCardinality(String),
    `subject` String,
    `time` DateTime64(3, 'UTC'),
    `data` String CODEC(ZSTD(1)),
    `extensions` String CODEC(ZSTD(1)),
    `arrived_at` DateTime64(3, 'UTC'),
    `stored_at` DateTime64(3, 'UTC'),
    `log_partition` Int32,
    `log_offset` Int64,
    `key` FixedString(16)
)
ENGINE = ReplacingMergeTree(stored_at)
ORDER BY (arrived_at, log_partition, log_offset)
TTL toDateTime(stored_at) + toIntervalDay(30)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 8192;

CREATE TABLE event_claims
(
    `token` String,
    `owner` LowCardinality(String),
    `stored_at` DateTime64(3, 'UTC'),
    `events` UInt32,
    `keys` String TTL toDateTime(claimed_at) + toIntervalHour(3),
    `claimed_at` DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree
PARTITION BY toDate(claimed_at)
ORDER BY claimed_at
TTL toDateTime(claimed_at) + toIntervalDay(30)
SETTINGS enable_block_number_column = 1, merge_with_ttl_timeout = 3600, index_granularity = 8192;

CREATE TABLE event_keys
(
    `key` FixedString(16),
    `log_partition` Int32,
    `log_offset` Int64,
    `stored_at` DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY key
TTL toDateTime(stored_at) + toIntervalDay(42)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 8192;

CREATE MATERIALIZED VIEW event_keys_view TO event_keys
(
    `key` FixedString(16),
    `log_partition` Int32,
    `log_offset` Int64,
    `stored_at` DateTime64(3, 'UTC')
)
AS SELECT
    key,
    log_partition,
    log_offset,
    stored_at
FROM events;

CREATE TABLE events
(
    `id` String,
    `source` LowCardinality(String),
    `type` LowCardinality(String),
    `subject` String,
    `time` DateTime64(3, 'UTC'),
    `data` String CODEC(ZSTD(1)),
    `extensions` String CODEC(ZSTD(1)),
    `arrived_at` DateTime64(3, 'UTC'),
    `stored_at` DateTime64(3, 'UTC'),
    `log_partition` Int32,
    `log_offset` Int64,
    `key` FixedString(16)
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (type, subject, time)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 8192;

CREATE TABLE log_positions
(
    `topic` String,
    `topic_id` String,
    `partition` Int32,
    `position` Int64,
    `noted_at` DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(position)
ORDER BY (topic, topic_id, partition)
SETTINGS index_granularity = 8192;

CREATE TABLE meters
(
    `id` String,
    `version` UInt64,
    `slug` String,
    `state` LowCardinality(String),
    `definition` String,
    `rollup` String,
    `visible_from` DateTime64(3, 'UTC'),
    `filled_to` DateTime64(3, 'UTC'),
    `created_at` DateTime64(3, 'UTC'),
    `updated_at` DateTime64(3, 'UTC'),
    `deleted_at` Nullable(DateTime64(3, 'UTC'))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 8192;

CREATE TABLE portal_invalidations
(
    `kind` LowCardinality(String),
    `name` String,
    `issued_until` DateTime64(3, 'UTC'),
    `expires_at` DateTime64(3, 'UTC'),
    `invalidated_at` DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(issued_until)
ORDER BY (kind, name)
TTL toDateTime(expires_at)
SETTINGS index_granularity = 8192;

CREATE TABLE portal_tokens
(
    `id` String,
    `version` UInt64,
    `subject` String,
    `allowed_meter_slugs` Array(String),
    `created_at` DateTime64(3, 'UTC'),
    `expires_at` DateTime64(3, 'UTC'),
    `revoked_at` Nullable(DateTime64(3, 'UTC'))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id
TTL toDateTime(expires_at) + toIntervalDay(30)
SETTINGS index_granularity = 8192;

CREATE TABLE schema_migrations
(
    `name` String,
    `version` UInt64,
    `hash` String,
    `needs` String,
    `started_at` DateTime64(3, 'UTC'),
    `completed_at` Nullable(DateTime64(3, 'UTC'))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY name
SETTINGS index_granularity = 8192;

CREATE TABLE subjects
(
    `id` String,
    `version` UInt64,
    `key` String,
    `definition` String,
    `created_at` DateTime64(3, 'UTC'),
    `updated_at` DateTime64(3, 'UTC'),
    `deleted_at` Nullable(DateTime64(3, 'UTC'))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id
SETTINGS index_granularity = 8192;
