"""The same events stored and asked as others do it, on the same engine: what a query of Meterport is compared with.

- `raw`: a MergeTree by namespace, type, subject and hour. Its query reads the JSON of each event, and duplicates count.
- `final`: a ReplacingMergeTree by type, subject, time, source and id. Its query reads the JSON with FINAL.
- `limit by`: the table of `raw`. Its query reads the JSON with `LIMIT 1 BY source, id`.

Values are read as Float64, which is faster than the exact decimals of Meterport and drifts.
Source: written from descriptions of these designs; no code of another product is used.
"""

from benchmarks.events import Data
from engine.store.clickhouse import Store

RAW = "other_raw"
REPLACING = "other_replacing"
_COLUMNS = (
    "namespace LowCardinality(String), id String, type LowCardinality(String), source LowCardinality(String), "
    "subject String, time DateTime64(3, 'UTC'), data String CODEC(ZSTD(1))"
)
_VALUE = "toFloat64OrNull(JSON_VALUE(data, '$.tokens'))"


def create(store: Store, data: Data) -> None:
    """Create the tables and store the events in them, in blocks as large as ClickHouse likes them."""
    store.command(
        f"CREATE TABLE {RAW} ({_COLUMNS}) ENGINE = MergeTree PARTITION BY toYYYYMM(time) "
        "ORDER BY (namespace, type, subject, toStartOfHour(time))"
    )
    store.command(
        f"CREATE TABLE {REPLACING} ({_COLUMNS}) ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(time) "
        "ORDER BY (namespace, type, subject, time, source, id)"
    )
    columns = "'default' AS namespace, id, type, source, subject, time, data"
    for table in (RAW, REPLACING):
        for select in data.selects(duplicates=True):
            store.command(f"INSERT INTO {table} SELECT {columns} FROM ({select})")


def statement(design: str, subject: str, window: str, group: str, from_: str, to: str) -> str:
    """Return the query of a design.

    Args: window: the SQL expression of a window's start. group: a member of `data`, or "". from_, to: SQL literals.
    """
    keys = [f"{window} AS window", *([f"JSON_VALUE(data, '$.{group}') AS key"] if group else [])]
    where = f"namespace = 'default' AND type = 'prompt' AND subject = '{subject}' AND time >= {from_} AND time < {to}"
    table = {
        "raw": f"{RAW} WHERE {where}",
        "final": f"{REPLACING} FINAL WHERE {where}",
        "limit by": f"(SELECT * FROM {RAW} WHERE {where} LIMIT 1 BY source, id)",
    }[design]
    names = ", ".join(key.rpartition(" AS ")[2] for key in keys)
    return f"SELECT {', '.join(keys)}, sum({_VALUE}) AS value FROM {table} GROUP BY {names} ORDER BY {names}"
