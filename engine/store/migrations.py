"""The migrations of the store's schema: numbered files in sql/migrations, each run once and never edited afterwards.

ClickHouse has no transactional DDL. A migration is therefore recorded before and after it runs, and each one is written
so that it can run again, even after later ones. Those that make a new store are recorded together: a process that dies
before their end leaves a store whose migrations all run again. The hash of each file is kept: a file that was changed
after it ran stops the process.
Releases: names sort by their numbers. A record with a higher number than those of this release was made by a newer
release, and says in `needs` which releases can work with the store nevertheless.
Source: docs/design.md R24 (migrations), R24a (an older release beside a newer schema).
"""

import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib import resources
from typing import Any

from engine import faults, metrics
from engine.config.settings import Settings
from engine.errors import StoreError, StoreMisconfigured, StoreUnavailable
from engine.instants import utc_now
from engine.store import sql
from engine.store.clickhouse import DEDUPLICATION_WINDOW, UNKNOWN_TABLE, Store

logger = logging.getLogger(__name__)
_KEY_MARGIN = timedelta(days=7)
_UNKNOWN_IDENTIFIER = 47
_NEEDS = re.compile(r"^-- Works with releases that know: (\w+)$", re.MULTILINE)
_CREATED = re.compile(r"\bCREATE (?:TABLE|MATERIALIZED VIEW) IF NOT EXISTS (\w+)")


Begin = Callable[[str], None]  # is called with the name of each migration before it runs


@dataclass(frozen=True, slots=True)
class Migration:
    """One change of the schema. `needs`: the oldest migration that a release must know to work with the result."""

    name: str
    statement: str
    digest: str
    needs: str


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema of a store, as a release sees it.

    `pending`: the migrations of the release that have not completed, in their order. `begun`: one of them has begun.
    `newer`: the names of those that a newer release has begun. `is_new`: none of this release has completed.
    """

    pending: Sequence[Migration]
    begun: bool
    newer: Sequence[str]
    is_new: bool

    @property
    def pending_names(self) -> list[str]:
        return [migration.name for migration in self.pending]

    @property
    def about_newer(self) -> str:
        """Return a line for people about the migrations of a newer release."""
        names = ", ".join(self.newer)
        return f"a newer release has changed this store, and this release can use it nevertheless: {names}"


class MigrationsPending(StoreUnavailable):
    """The store lacks migrations of this release, and this process must not run them. The message may be published."""

    def __init__(self, names: Sequence[str], begun: bool = False) -> None:
        advice = "`meterport migrate` has begun: wait for it, or run it again if it has ended"
        super().__init__(
            f"the schema lacks migrations of this release: {', '.join(names)}; "
            f"{advice if begun else 'run `meterport migrate`'}"
        )
        self.names = tuple(names)


def known_migrations(settings: Settings) -> list[Migration]:
    """Return the migrations of this release, in their order."""
    contents = {entry.name: entry for entry in resources.files("sql.migrations").iterdir()}
    return [
        _migration(name.removesuffix(".sql"), contents[name].read_bytes(), settings)
        for name in sorted(contents)
        if name.endswith(".sql")
    ]


def _migration(name: str, content: bytes, settings: Settings) -> Migration:
    keep_days = settings.ingest.duplicate_window_days + _KEY_MARGIN.days
    statement = sql.statement(f"migrations/{name}", window=str(DEDUPLICATION_WINDOW), keep_days=str(keep_days))
    needs = _NEEDS.search(content.decode())
    # Without the line only releases that have the file can be trusted with what it makes.
    return Migration(name, statement, hashlib.sha256(content).hexdigest(), needs[1] if needs else name)


def table_names(known: Sequence[Migration]) -> list[str]:
    """Return the names of the tables and views that migrations make."""
    return [found[1] for migration in known for found in _CREATED.finditer(migration.statement)]


def read_schema(store: Store, known: Sequence[Migration]) -> Schema:
    """Compare the records of a store with the migrations of a release. Write nothing.

    Raises: StoreMisconfigured: a migration file differs from the file that ran, or a newer release has changed the
        schema so that this one cannot use it.
    """
    records = _records(store)
    done = {name: digest for name, digest, _, completed in records if completed}
    for migration in known:
        if done.get(migration.name, migration.digest) != migration.digest:
            raise StoreMisconfigured(
                f"migration {migration.name} differs from the one that made this store: it was edited since, or an "
                "unreleased version made the store"
            )
    newest = known[-1].name
    newer = {name: needs for name, _, needs, _ in records if name > newest}
    too_new = {name: needs for name, needs in newer.items() if needs > newest}
    if too_new:
        raise StoreMisconfigured(
            f"the schema of this store is too new for this release: {', '.join(too_new)} can be used only by releases "
            f"that know {max(too_new.values())}; install the release that made the schema, or a later one"
        )
    pending = [migration for migration in known if migration.name not in done]
    _measure(len(pending), len(newer))
    names = {name for name, *_ in records}
    has_begun = any(migration.name in names for migration in pending)
    return Schema(pending, has_begun, list(newer), is_new=len(pending) == len(known))


def _records(store: Store) -> list[tuple[Any, ...]]:
    """Return the name, hash, needs and completion of each migration that has begun, in order."""
    try:
        return store.rows(sql.statement("schema_migrations_begun"))
    except StoreError as error:
        if error.clickhouse_code == UNKNOWN_TABLE:
            return []
        if error.clickhouse_code == _UNKNOWN_IDENTIFIER:
            raise StoreMisconfigured(
                "table schema_migrations has no column needs: an unreleased version made the store"
            ) from None
        raise


def missing_database(settings: Settings) -> MigrationsPending:
    """Return the error about a store whose database does not exist yet."""
    names = [migration.name for migration in known_migrations(settings)]
    _measure(len(names), 0)
    return MigrationsPending(names)


def _measure(pending: int, newer: int) -> None:
    metrics.SCHEMA_MIGRATIONS.labels("pending").set(pending)
    metrics.SCHEMA_MIGRATIONS.labels("newer").set(newer)


def prepare_schema(store: Store, settings: Settings, begin: Begin = lambda _: None) -> None:
    """Give the store the schema of this release when a process starts, as `store.migrate` says, and check its tables.

    Args: begin: see `migrate`.
    Raises: MigrationsPending: only `meterport migrate` may run the migrations. StoreMisconfigured: see `read_schema`.
    """
    schema = read_schema(store, known_migrations(settings))
    if schema.pending and settings.store.migrate == "wait":
        raise MigrationsPending(schema.pending_names, schema.begun)
    if schema.newer:
        logger.warning("schema_newer migrations=%s: a newer release made them", ", ".join(schema.newer))
    if schema.pending:
        migrate(store, settings, begin)
    store.check_tables()


def migrate(store: Store, settings: Settings, begin: Begin = lambda _: None) -> list[str]:
    """Run the migrations that have not run yet, and return their names.

    Several processes may do this at the same time, and each may die at any moment.
    Args: begin: is called with the name of each migration before it runs.
    Raises: StoreMisconfigured: see `read_schema`.
    """
    return run_pending(store, known_migrations(settings), begin)


def run_pending(store: Store, known: Sequence[Migration], begin: Begin = lambda _: None) -> list[str]:
    """Run those migrations of a release that have not run yet; see `migrate`."""
    schema = read_schema(store, known)
    if not schema.pending:
        return []
    _run(store, sql.statement("schema_migrations"))
    ran = _make(store, schema.pending, begin) if schema.is_new else _update(store, known, schema.pending, begin)
    _measure(0, len(schema.newer))
    return ran


def _make(store: Store, pending: Sequence[Migration], begin: Begin) -> list[str]:
    """Make a new store. Two inserts record all migrations, instead of two for each of them."""
    _record(store, pending, completed=False)
    for migration in pending:
        _announce(migration, begin)
        _run(store, migration.statement)
    _record(store, pending, completed=True)
    return [migration.name for migration in pending]


def _update(store: Store, known: Sequence[Migration], pending: Sequence[Migration], begin: Begin) -> list[str]:
    ran = []
    for migration in pending:
        if migration not in read_schema(store, known).pending:
            continue  # Another process has run it meanwhile.
        _announce(migration, begin)
        _record(store, [migration], completed=False)
        _run(store, migration.statement)
        _record(store, [migration], completed=True)
        ran.append(migration.name)
    return ran


def _announce(migration: Migration, begin: Begin) -> None:
    logger.info("migration_begun name=%s", migration.name)
    begin(migration.name)


def _run(store: Store, statement: str) -> None:
    store.command(statement)
    faults.hit("schema.after-statement")


def _record(store: Store, migrations: Sequence[Migration], completed: bool) -> None:
    now = utc_now()
    version, completed_at = (2, now) if completed else (1, None)
    store.insert_rows(
        "schema_migrations",
        ["name", "version", "hash", "needs", "started_at", "completed_at"],
        [[each.name, version, each.digest, each.needs, now, completed_at] for each in migrations],
    )
    for each in migrations if completed else ():
        logger.info("migration_completed name=%s", each.name)
    faults.hit("schema.after-statement")
