"""Databases that tests use one after another: each is emptied when its test ends.

Owns: what "emptied" means. A new database with its tables takes 100 ms of processor time, an emptied one 10 to 50, and
a full run needs about a thousand. A database whose tables are not as they were made is dropped.
Limits: this is about rows and tables. A test that stops merges, or changes a store in another way, ends that itself.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.config.settings import Settings
from engine.health import Pulse
from engine.store import sql
from engine.store.clickhouse import Store
from engine.store.migrations import migrate
from engine.store.opening import open_store

_TABLES = "SELECT name, create_table_query, engine, parts FROM system.tables WHERE database = currentDatabase()"
_KEPT = "schema_migrations"


class Database:
    """A database with all tables of the schema, and the connections to it, which all its tests use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._store = open_store(settings)
        migrate(self._store, settings)
        self._made = self._definitions()

    @property
    def store(self) -> Store:
        """Return a store of its own for a test, which may change its attributes."""
        store = copy.copy(self._store)
        store.pulse = Pulse()
        return store

    def empty(self) -> bool:
        """Remove rows, and tables that were added. Return whether the database is as it was made."""
        rows = self._store.rows(_TABLES)
        added = [(name, engine) for name, _, engine, _ in rows if name not in self._made]
        for name, _ in sorted(added, key=lambda table: table[1] != "MaterializedView"):
            self._store.command(f"DROP TABLE {sql.identifier(name)} SYNC")
        for name, _, _, parts in rows:
            if parts and name in self._made and name != _KEPT:
                self._store.command(f"TRUNCATE TABLE {sql.identifier(name)} SYNC")
        return {name: definition for name, definition, _, _ in rows if name in self._made} == self._made

    def close(self, drop: bool) -> None:
        """Close the store. Args: drop: whether to drop the database before that."""
        if drop:
            self._store.command(f"DROP DATABASE {sql.identifier(self.settings.store.database)} SYNC")
        self._store.close()

    def _definitions(self) -> dict[str, str]:
        return {name: definition for name, definition, *_ in self._store.rows(_TABLES)}


@dataclass(frozen=True, slots=True)
class Databases:
    """The emptied databases of one way to reach a store."""

    _emptied: list[Database] = field(default_factory=list)

    def take(self, settings: Callable[[], Settings]) -> Database:
        """Return a database for one test. `settings` returns those of a new one."""
        return self._emptied.pop() if self._emptied else Database(settings())

    def give_back(self, database: Database) -> None:
        """Keep the database for the next test, if it can be emptied."""
        if database.empty():
            self._emptied.append(database)
        else:
            database.close(drop=True)

    def close(self) -> None:
        while self._emptied:
            self._emptied.pop().close(drop=False)
