-- One grain of one meter's rollup: minute, quarter (15 minutes) or day, all UTC, all of one shape.
-- ORDER BY: a portal query is one subject over a range of windows, so it reads a few granules however many events
-- there are. Rows of the same key are merged in the background; every reader aggregates.
-- `first_minute`, `last_minute`: the span of the events in the row, for totals asked without bounds.
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
