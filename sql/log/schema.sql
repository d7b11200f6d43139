-- The embedded event log (SQLite).
-- `records`: one row for each event that is not stored yet. A position is never used again (AUTOINCREMENT), although
-- acknowledged rows are deleted.
-- `plans`: at most one row, the plan of the current batch.
-- `identity`: the partition number of this log, so that positions of another log are not taken for its own.
-- `noted`: the position up to which this log is stored, according to the store.
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
