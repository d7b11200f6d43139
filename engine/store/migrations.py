"""The migrations of the store's schema: numbered files in sql/migrations, each run once and never edited afterwards.

ClickHouse has no transactional DDL. A migration is therefore recorded before and after it runs, and each one is written
so that it can run again. Those that make a new store are recorded together at the end: a process that dies before that
leaves a store whose migrations all run again. The hash of each file is kept: a file that was changed after it ran stops
the process.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import timedelta
from importlib import resources
from typing import NamedTuple

from engine.config.settings import Settings
from engine.errors import StoreMisconfigured
from engine.instants import utc_now
from engine.store import sql
from engine.store.clickhouse import DEDUPLICATION_WINDOW, Store

_KEY_MARGIN = timedelta(days=7)
_CREATED = re.compile(r"\bCREATE (?:TABLE|MATERIALIZED VIEW) IF NOT EXISTS (\w+)")


class SchemaState(NamedTuple):
    """The migrations of a store by name, in order, compared with those of this release."""

    completed: list[str]
    pending: list[str]
    changed: list[str]  # their files differ from those that ran
    newer: list[str]  # this release does not have them


def schema_state(store: Store) -> SchemaState:
    """Compare a store's migrations with those of this release. Nothing is written.

    Raises: StoreError: the code is UNKNOWN_TABLE if no migration was ever recorded.
    """
    done = dict(store.rows("SELECT name, hash FROM schema_migrations FINAL WHERE completed_at IS NOT NULL"))
    digests = {name: _digest(name) for name in _names()}
    return SchemaState(
        completed=sorted(done),
        pending=[name for name in digests if name not in done],
        changed=[name for name in digests if done.get(name, digests[name]) != digests[name]],
        newer=sorted(done.keys() - digests.keys()),
    )


def migrate(store: Store, settings: Settings) -> list[str]:
    """Run the migrations that have not run yet, and return their names.

    Raises: StoreMisconfigured: a migration file differs from the file that ran.
    """
    store.command(sql.statement("schema_migrations"))
    state = schema_state(store)
    refuse_changed(state)
    done, pending = state.completed, {name: _digest(name) for name in state.pending}
    for name, digest in pending.items():
        if done:
            _record(store, {name: digest}, completed=False)
        store.command(_render(name, settings))
        if done:
            _record(store, {name: digest}, completed=True)
    if pending and not done:
        _record(store, pending, completed=True)
    return list(pending)


def refuse_changed(state: SchemaState) -> None:
    """Raises: StoreMisconfigured: a migration file differs from the file that ran."""
    for name in state.changed:
        raise StoreMisconfigured(
            f"migration {name} differs from the one that made this store: it was edited since, or an "
            "unreleased version made the store"
        )


def table_names() -> list[str]:
    """Return the names of the tables and views that the migrations make."""
    statements = (sql.statement(f"migrations/{name}", window="0", keep_days="0") for name in _names())
    return [found[1] for text in statements for found in _CREATED.finditer(text)]


def _names() -> list[str]:
    files = (entry.name for entry in resources.files("sql.migrations").iterdir())
    return sorted(name.removesuffix(".sql") for name in files if name.endswith(".sql"))


def _render(name: str, settings: Settings) -> str:
    keep_days = settings.ingest.duplicate_window_days + _KEY_MARGIN.days
    return sql.statement(f"migrations/{name}", window=str(DEDUPLICATION_WINDOW), keep_days=str(keep_days))


def _digest(name: str) -> str:
    return hashlib.sha256(resources.files("sql.migrations").joinpath(f"{name}.sql").read_bytes()).hexdigest()


def _record(store: Store, digests: Mapping[str, str], completed: bool) -> None:
    now = utc_now()
    store.insert_rows(
        "schema_migrations",
        ["name", "version", "hash", "started_at", "completed_at"],
        [[name, 2 if completed else 1, digest, now, now if completed else None] for name, digest in digests.items()],
    )
