-- The table of one grain of a meter's rollup: minute, quarter (15 minutes) or day, in UTC, all in the same form.
-- ORDER BY: a portal query reads one subject over a range of windows, so it reads a few granules however many events
-- there are. ClickHouse merges rows with the same key in the background; every query aggregates them.
-- `first_minute`, `last_minute`: the first and last minute of the events in a row, for totals without bounds.
CREATE TABLE IF NOT EXISTS ${table}
(
    subject String,
    window DateTime('UTC'),
    ${dimensions}
    first_minute SimpleAggregateFunction(min, DateTime('UTC')),
    last_minute SimpleAggregateFunction(max, DateTime('UTC')),
    ${columns}
)
ENGINE = AggregatingMergeTree
ORDER BY (subject, window${dimension_names})
SETTINGS non_replicated_deduplication_window = ${dedup_window}
