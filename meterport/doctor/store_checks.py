"""The checks of a ClickHouse server: can this user do there what a process does, and is what exists as it must be?

Owns: the rights that Meterport's statements need, the checks in their order, and their messages. Only SELECT and CHECK
GRANT are sent.
Source: docs/design.md R5 (settings of inserts); the statements in sql/.
"""

import re
from collections.abc import Callable
from typing import TypeVar

from engine.config.settings import Settings
from engine.errors import StoreError, StoreMisconfigured, StoreUnavailable
from engine.instants import milliseconds, utc_now
from engine.store import inspection, sql
from engine.store.clickhouse import Store
from engine.store.migrations import MigrationsPending, Schema, known_migrations, read_schema, table_names
from engine.store.opening import explained_refusals, server_store, tls_context
from meterport.doctor import network
from meterport.doctor.report import Check, Fault, Warn

_T = TypeVar("_T")
_SECONDS = 10  # how long the server may take for a connection, and for an answer
_CLOCK_WARNING_SECONDS, _CLOCK_FAULT_SECONDS = 5, 3600
_CONSTRAINT_VIOLATION = 452
_PLAIN_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
# What the statements in sql/ need, each with what cannot be done without it. A right on tables includes that on views.
RIGHTS = {
    "SELECT": "queries, and ingest, which reads what is stored already",
    "INSERT": "storing events, meters, subjects and tokens",
    "CREATE TABLE": "migrations and new meters",
    "CREATE VIEW": "migrations and new meters",
    "DROP TABLE": "deleting meters, and replacing what a crash left",
    "DROP VIEW": "deleting meters, and replacing what a crash left",
}

ADDRESS, USER, CLOCK, SETTINGS = "store address", "store user", "store clock", "store settings"
DATABASE, RIGHTS_CHECK, ENGINES = "store database", "store rights", "store table engines"
SCHEMA, TABLES = "store schema", "store tables"


class StoreChecks:
    """The checks of the server that the settings name. `close` ends its connections."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._name = settings.store.database
        self._waits = settings.store.migrate == "wait"
        self._user = "this user"  # as in GRANT
        self._readonly = 0
        self._bare: Store | None = None  # in the user's own database
        self._store: Store | None = None  # in the configured database
        self._known = known_migrations(settings)
        self._schema: Schema | None = None  # None: the database does not exist, or was not looked at

    def checks(self) -> list[Check]:
        """Return the checks in their order."""
        return [
            Check(ADDRESS, self._check_address),
            Check(USER, self._check_user, (ADDRESS,)),
            Check(CLOCK, self._check_clock, (USER,)),
            Check(SETTINGS, self._check_settings, (USER,)),
            Check(DATABASE, self._check_database, (USER,)),
            Check(RIGHTS_CHECK, self._check_rights, (USER,)),
            Check(ENGINES, self._check_engines, (USER,)),
            Check(SCHEMA, self._check_schema, (DATABASE,)),
            Check(TABLES, self._check_tables, (SCHEMA,)),
        ]

    def in_database(self) -> Store | None:
        """Return the store in its database, if the schema check has found its tables there; None if it has not."""
        return None if self._schema is None or self._schema.is_new else self._store

    def close(self) -> None:
        for store in (self._bare, self._store):
            if store is not None:
                store.close()

    def _check_address(self) -> str:
        scheme, host, port = self._settings.store.address
        context = tls_context(self._settings.store) if scheme == "https" else None
        with network.connect(host, port, _SECONDS, "store.url") as connection:
            if context:
                network.check_tls(connection, host, context, "store.ca_location", "store.url")
        return f"{host}:{port} answers" + (", with a valid certificate" if context else "")

    def _check_user(self) -> str:
        self._bare = server_store(self._settings, in_database=False, seconds=_SECONDS).with_own_settings()
        try:
            user = self._ask(inspection.server_user)
        except StoreUnavailable as error:
            raise Fault(f"store.url: ClickHouse takes connections, but does not answer a statement: {error}") from None
        self._user = user.name if _PLAIN_NAME.fullmatch(user.name) else f"`{user.name}`"
        self._readonly = user.readonly
        return f"ClickHouse {user.release} accepts {user.name}"

    def _ask(self, question: Callable[[Store], _T]) -> _T:
        """Return the answer to a question that needs no database."""
        assert self._bare is not None  # noqa: S101 - the checks that call this need the check that sets it
        with explained_refusals():
            return question(self._bare)

    def _check_clock(self) -> str:
        before_ms = milliseconds(utc_now())
        server_ms = self._ask(inspection.clock_ms)
        after_ms = milliseconds(utc_now())
        behind_ms = max(before_ms - server_ms, server_ms - after_ms, 0)
        if behind_ms <= _CLOCK_WARNING_SECONDS * 1000:
            return f"differs by less than {_CLOCK_WARNING_SECONDS} seconds from this machine's"
        ahead = "ahead of" if server_ms > after_ms else "behind"
        message = (
            f"the server's clock is {behind_ms / 1000:.0f} seconds {ahead} this machine's: synchronise both by NTP "
            '(docs/operations.md "Deploying")'
        )
        raise Fault(message) if behind_ms > _CLOCK_FAULT_SECONDS * 1000 else Warn(message)

    def _check_settings(self) -> str:
        if self._readonly:
            raise Fault(
                f"store.username: {self._user} may only read, because its profile has readonly = {self._readonly}: "
                "set it to 0"
            )
        try:
            self._ask(_check_settings)
        except StoreError as error:
            if error.clickhouse_code != _CONSTRAINT_VIOLATION:
                raise
            raise Fault(
                f"the profile of {self._user} has constraints that forbid a setting that exactly-once storage needs: "
                f"remove them: {error}"
            ) from None
        return "those that exactly-once storage needs are applied"

    def _check_database(self) -> str:
        name = self._name
        if not self._ask(lambda store: inspection.database_exists(store, name)):
            creation = f"CREATE DATABASE ON {sql.identifier(name)}.*"
            if self._ask(lambda store: inspection.is_granted(store, creation)) is False:
                raise Fault(
                    f"store.database: {name} does not exist, or {self._user} has no right on it, and may not create "
                    "it: create it and grant the rights on it, or run "
                    f"GRANT CREATE DATABASE ON {name}.* TO {self._user}"
                )
            return f"{name} does not exist; {'`meterport migrate`' if self._waits else 'the first start'} creates it"
        self._store = server_store(self._settings, seconds=_SECONDS).with_own_settings()
        return f"{name} exists"

    def _check_rights(self) -> str:
        answers = {
            right: self._ask(lambda store, right=right: inspection.is_granted(store, f"{right} ON {self._on}"))  # type: ignore[misc]
            for right in RIGHTS
        }
        if None in answers.values():
            raise Warn(
                f"this release of ClickHouse has no CHECK GRANT: look with SHOW GRANTS whether {self._user} has "
                f"{', '.join(RIGHTS)} ON {self._name}.*"
            )
        missing = [right for right, granted in answers.items() if not granted]
        if missing:
            without = "; ".join(dict.fromkeys(RIGHTS[right] for right in missing))
            raise Fault(
                f"{self._user} lacks {', '.join(missing)} on {self._name}.*, needed for {without}: run GRANT "
                f"{', '.join(missing)} ON {self._name}.* TO {self._user}"
            )
        return f"{', '.join(RIGHTS)} on {self._name}.*"

    @property
    def _on(self) -> str:
        return f"{sql.identifier(self._name)}.*"

    def _check_engines(self) -> str:
        missing = self._ask(inspection.missing_engines)
        if missing:
            raise Fault(f"this ClickHouse lacks the table engine {', '.join(missing)}: use a ClickHouse that has it")
        for engine in inspection.ENGINES:
            right = f"TABLE ENGINE ON {engine}"
            if self._ask(lambda store, right=right: inspection.is_granted(store, right)) is False:  # type: ignore[misc]
                raise Fault(f"{self._user} may not use the table engine {engine}: run GRANT {right} TO {self._user}")
        return ", ".join(inspection.ENGINES)

    def _check_schema(self) -> str:
        pending, begun = [migration.name for migration in self._known], False
        if self._store is not None:
            with explained_refusals():
                self._schema = schema = read_schema(self._store, self._known)
            if schema.newer:
                raise Warn(f"{schema.about_newer}; upgrade this release of Meterport")
            pending, begun = schema.pending_names, schema.begun
        if not pending:
            return f"all {len(self._known)} migrations have run"
        if self._waits:
            raise Warn(f"store.migrate is wait, and {MigrationsPending(pending, begun)}")
        if len(pending) < len(self._known):
            raise Warn(
                f"the next start runs these migrations: {', '.join(pending)}; until then what they create is missing"
            )
        return "no tables yet; the first start makes them"

    def _check_tables(self) -> str:
        store = self.in_database()
        if store is None:
            return "none yet"
        made = [] if self._schema and self._schema.pending else table_names(self._known)
        missing = inspection.missing_tables(store, made)
        if missing:
            raise Fault(
                f"missing in {self._name}, or {self._user} has no right on them: {', '.join(missing)}; restore the "
                "database, or grant the rights on all of it"
            )
        with explained_refusals():
            store.check_tables()
        return "all exist, with the deduplication window that exactly-once storage needs"


def _check_settings(store: Store) -> None:
    """Raises: StoreMisconfigured: what must be changed."""
    try:
        store.with_own_settings().check()  # a copy, which alone is changed by it
    except StoreMisconfigured as error:
        raise Fault(f"{error}: change it in the profile of the user, or upgrade ClickHouse") from None
