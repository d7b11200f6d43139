"""The tables of a store, made many times in one test process: migrated once, and then copied.

A migration records each file before and after it runs, which takes most of its time. A copy runs the same statements,
as ClickHouse shows them, and writes the records at once. tests/engine/store/test_migrations.py tests the migrations.
"""

from dataclasses import dataclass

from engine.config.settings import Settings
from engine.store.clickhouse import Store
from engine.store.migrations import migrate

_RECORD = ["name", "version", "hash", "started_at", "completed_at"]


@dataclass(frozen=True, slots=True)
class _Schema:
    statements: list[str]  # tables first, then the views, with names that belong to the current database
    records: list[tuple[object, ...]]


_known: dict[tuple[bool, int], _Schema] = {}


def make_tables(store: Store, settings: Settings) -> None:
    """Make the tables of a new store, as `migrate` does."""
    key = store.shared, settings.ingest.duplicate_window_days
    if key not in _known:
        migrate(store, settings)
        _known[key] = _read_schema(store, settings.store.database)
        return
    for statement in _known[key].statements:
        store.command(statement)
    store.insert_rows("schema_migrations", _RECORD, _known[key].records)


def _read_schema(store: Store, database: str) -> _Schema:
    shown = store.rows(
        "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() "
        "ORDER BY engine = 'MaterializedView', name"
    )
    records = store.rows(f"SELECT {', '.join(_RECORD)} FROM schema_migrations")
    return _Schema([statement.replace(f"{database}.", "") for (statement,) in shown], records)
