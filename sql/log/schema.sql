-- The embedded event log (SQLite). `records`: one row an event not yet stored; offsets never come again
-- (AUTOINCREMENT), though acknowledged rows are deleted. `plans`: at most one row, the batch under way.
-- `identity`: the number this log's partition goes by, so that offsets of another log are not taken for its own.
-- `noted`: the position up to which the store has noted that it has stored this log.
CREATE TABLE IF NOT EXISTS records (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    arrived_ms INTEGER NOT NULL,
    value BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS plans (
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    stored_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS identity (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    partition INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS noted (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    position INTEGER NOT NULL
);
