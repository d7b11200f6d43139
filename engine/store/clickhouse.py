"""ClickHouse through clickhouse-connect: a server over HTTP(S), or chDB embedded in this process.

Owns: the connections, the settings that every insert and every query is sent with, and the check of them at start.
All other code of the engine uses this class; only this class knows which of the two databases it has.
Limits: chDB is synchronous and a handle serves one call at a time. A store therefore has several handles and lends them
out like connections; call it from threads. A process can open one chDB path only.
Source: docs/design.md R1 (ports), R5 (settings of inserts), R7 (one insert is one block), R22 (memory limits).
"""

import contextlib
import copy
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import pyarrow as pa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from engine import tracing
from engine.errors import QueryOverMemory, StoreMisconfigured
from engine.health import Pulse
from engine.store import sql
from engine.store.binding import bind, with_settings
from engine.store.errors import NO_LIMITS, UNKNOWN_TABLE, Limits, translate_errors
from engine.store.memory import QueryMemory
from engine.store.statement_settings import INSERT_SETTINGS, OPTIONAL_SETTINGS, READ_SETTINGS

__all__ = [
    "DEDUPLICATION_WINDOW",
    "INSERT_SETTINGS",
    "OPTIONAL_SETTINGS",
    "READ_SETTINGS",
    "UNKNOWN_TABLE",
    "Store",
]

_T = TypeVar("_T")
logger = logging.getLogger(__name__)
# The number of blocks whose deduplication tokens each table remembers. A retry comes within a few blocks.
DEDUPLICATION_WINDOW = 10_000
PROBE_TIMEOUT_SECONDS = 5  # A probe waits this long for its answer.


class Store:
    """A pool of connections to one ClickHouse database. Thread-safe.

    Args: connect: opens a connection. handles: the largest number of connections in use at once. shared: whether other
        processes may write to this store too. on_close: is called after the idle connections are closed. query_memory:
        the memory limits of one query; None: the server's own settings apply. probe: connects as `connect` does, but
        waits only a few seconds for an answer.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        handles: int,
        shared: bool,
        on_close: Callable[[], None] = lambda: None,
        query_memory: QueryMemory | None = None,
        probe: Callable[[], Client] | None = None,
    ) -> None:
        self.shared = shared  # Whether other processes may write to this store too.
        self.pulse = Pulse()  # Records when a statement last succeeded.
        self._probe = probe or connect
        self._connect = connect
        self._on_close = on_close
        self._idle: queue.LifoQueue[Client] = queue.LifoQueue()
        self._slots = threading.Semaphore(handles)
        self._insert_settings = dict(INSERT_SETTINGS)
        self._read_settings = dict(READ_SETTINGS)
        self._query_memory = query_memory
        self._allowed_settings: frozenset[str] = frozenset()
        self._large_query_lock = threading.Lock()  # Held by the only query that runs with the large memory limit.
        self._timeout_seconds: float | None = None

    def with_timeout(self, seconds: float) -> "Store":
        """Return a store for usage queries. It shares the connections of this one.

        Each SELECT is limited. It raises QueryTimeout after `seconds`, and QueryOverMemory if it needs more memory than
        one query may use.
        """
        limited = copy.copy(self)
        limited._timeout_seconds = seconds
        limited._read_settings = {**self._read_settings, "max_execution_time": seconds}
        return limited

    def with_own_connection(self) -> "Store":
        """Return a store for work that must not wait for others: it has a connection slot of its own."""
        separate = copy.copy(self)
        separate._slots = threading.Semaphore(1)
        return separate

    def with_own_settings(self) -> "Store":
        """Return a store whose queries have the settings of the server's user alone, and not Meterport's own."""
        plain = copy.copy(self)
        plain._read_settings = {}
        return plain

    # --- reading

    def rows(self, statement: str, **parameters: object) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT. ClickHouse binds the `parameters` to {name:Type} in the statement."""
        return self._query(statement, parameters, lambda client, *query: list(client.query(*query).result_rows))

    def query_bytes(self, statement: str, format_: str, parameters: Mapping[str, object]) -> bytes:
        """Return the rows of a SELECT as bytes in a ClickHouse output format."""
        return self._query(statement, parameters, lambda client, *query: bytes(client.raw_query(*query, fmt=format_)))

    def arrow(self, statement: str, **parameters: object) -> pa.Table:
        """Return all rows of a SELECT as one Arrow table."""
        return self._query(statement, parameters, lambda client, *query: client.query_arrow(*query))

    def _query(self, statement: str, parameters: Mapping[str, object], run: Callable[..., _T]) -> _T:
        """Run a query. In a store from `with_timeout` it gets the small memory limit first.

        If that is not enough, the query runs again with the large limit; only one query at a time may do so.
        """
        bound, values = bind(statement, parameters)
        memory = self._query_memory if self._timeout_seconds is not None else None
        if memory is None:
            return self._query_within(bound, values, run, Limits(self._timeout_seconds))
        try:
            return self._query_within(bound, values, run, Limits(self._timeout_seconds, memory.small))
        except QueryOverMemory:
            if memory.large <= memory.small or not self._large_query_lock.acquire(timeout=self._timeout_seconds or -1):
                raise
        try:
            return self._query_within(bound, values, run, Limits(self._timeout_seconds, memory.large))
        finally:
            self._large_query_lock.release()

    def _query_within(
        self, bound: str, values: Mapping[str, object] | None, run: Callable[..., _T], limits: Limits
    ) -> _T:
        settings = dict(self._read_settings)
        if limits.memory_bytes is not None and self._query_memory is not None:
            wanted = self._query_memory.settings(limits.memory_bytes)
            settings |= {name: value for name, value in wanted.items() if name in self._allowed_settings}
        with tracing.spans.statement("SELECT"), self._handle(limits) as client:
            return run(client, with_settings(bound, settings), values)

    # --- writing

    def command(self, statement: str) -> str:
        """Run a DDL statement, or an INSERT … SELECT that has its own SETTINGS clause. Return what it answers."""
        with self._handle() as client:
            return str(client.command(statement))

    def insert_block(self, table: str, block: pa.Table, token: str) -> None:
        """Insert rows as one block with a deduplication token.

        It is safe to repeat the insert with the same rows and token: the tables of the chain that lack the block get
        it, the others skip it.
        Raises: StoreUnavailable, StoreError: each table of the chain may have the block or lack it.
        """
        self.insert_formatted(table, _arrow_file(block), "Arrow", token, block.column_names)

    def insert_formatted(
        self, table: str, body: bytes, format_: str, token: str, columns: Sequence[str] | None = None
    ) -> None:
        """Insert rows in a ClickHouse input format as one block with a deduplication token; see `insert_block`."""
        self._insert(table, body, format_, {**self._insert_settings, "insert_deduplication_token": token}, columns)

    def _insert(
        self, table: str, body: bytes, format_: str, settings: Mapping[str, Any], columns: Sequence[str] | None
    ) -> None:
        with self._handle() as client:
            client.raw_insert(table, column_names=columns, insert_block=body, fmt=format_, settings=dict(settings))

    def insert_rows(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str | None = None
    ) -> None:
        """Insert a few rows into a registry table synchronously. If the table knows the token, nothing happens.

        A column in which every row has None gets its default. (The client's own insert of rows asks for the types of
        the table each time.)
        """
        found = {name: pa.array(values) for name, *values in zip(columns, *rows, strict=True)}
        block = pa.table({name: values for name, values in found.items() if values.null_count < len(values)})
        deduplication = {} if token is None else {**self._insert_settings, "insert_deduplication_token": token}
        self._insert(table, _arrow_file(block), "Arrow", {"async_insert": 0, **deduplication}, block.column_names)

    def fill_settings(self, token: str) -> str:
        """Return the SETTINGS list of an INSERT … SELECT into a chain of tables, with a deduplication token."""
        return sql.settings({**self._insert_settings, "insert_deduplication_token": token})

    def ping(self) -> None:
        """Read one row and record the success in `pulse`.

        It uses a separate connection, so that busy connections do not delay it.
        """
        with translate_errors(), contextlib.closing(self._probe()) as client:
            client.query("SELECT 1")
        self.pulse.succeeded()

    # --- checks at the start

    def check(self) -> None:
        """Check that ClickHouse applies the settings that exactly-once storage needs, by reading them back.

        Raises: StoreMisconfigured: the message names the setting, its value and the value it must have.
        """
        names = sorted({*INSERT_SETTINGS, *READ_SETTINGS})
        self._read_settings = {}
        known = {
            row[0]
            for row in self.rows("SELECT name FROM system.settings WHERE name IN {names:Array(String)}", names=names)
        }
        missing = sorted(INSERT_SETTINGS.keys() - known - OPTIONAL_SETTINGS)
        if missing:
            raise StoreMisconfigured(f"this ClickHouse release is too old: it has no setting {missing[0]}")
        self._insert_settings = {name: value for name, value in INSERT_SETTINGS.items() if name in known}
        self._read_settings = {name: value for name, value in READ_SETTINGS.items() if name in known}
        effective = dict(
            self.rows(
                f"SELECT name, value FROM system.settings WHERE name IN {{names:Array(String)}} SETTINGS "
                f"{sql.settings(self._insert_settings)}",
                names=names,
            )
        )
        for name, wanted in {**self._insert_settings, **self._read_settings}.items():
            if effective.get(name) != str(wanted):
                raise StoreMisconfigured(f"ClickHouse applies {name} = {effective.get(name)}, but it must be {wanted}")
        if self._query_memory is not None:
            self._allowed_settings = self._settable(self._query_memory.settings(self._query_memory.large))

    def _settable(self, wanted: Mapping[str, int]) -> frozenset[str]:
        """Return the names of the wanted settings that the server knows and allows its user to set to these values."""
        rows = self.rows(sql.statement("settable"), names=[*wanted])
        allowed = frozenset(name for name, maximum in rows if maximum is None or wanted[name] <= float(maximum))
        if "max_memory_usage" not in allowed:
            logger.warning("query_memory_not_limited: only the server's own settings limit the memory of a query")
        return allowed

    def check_tables(self) -> None:
        """Check that the tables keep a deduplication window, and that the table of claims keeps their order.

        Raises: StoreMisconfigured: the message names the table.
        """
        claims = "SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = 'event_claims'"
        for (engine,) in self.rows(claims) if self.shared else ():
            if engine != "MergeTree":
                raise StoreMisconfigured(f"table event_claims is a {engine}: only a MergeTree keeps claims in order")
        for table, definition in self.rows(sql.statement("chain_tables")):
            window = f"non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}"
            if window not in definition:
                raise StoreMisconfigured(
                    f"table {table} does not keep a deduplication window of {DEDUPLICATION_WINDOW}: run ALTER TABLE "
                    f"{table} MODIFY SETTING {window}"
                )

    def close(self) -> None:
        """Close every idle connection, then call `on_close`."""
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                break
        self._on_close()

    @contextlib.contextmanager
    def _handle(self, limits: Limits = NO_LIMITS) -> Iterator[Client]:
        """Lend out a connection of the pool. Errors of the driver become errors of engine/errors.py."""
        with self._slots, translate_errors(limits):
            try:
                client = self._idle.get_nowait()
            except queue.Empty:
                client = self._connect()
            failed = False
            try:
                yield client
                self.pulse.succeeded()
            except (DatabaseError, OSError):
                failed = True  # After a failed Arrow query a chDB handle keeps answering in Arrow: it is closed.
                raise
            finally:
                if failed:
                    client.close()
                else:
                    self._idle.put(client)


def _arrow_file(block: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, block.schema) as writer:
        writer.write_table(block)
    content: bytes = sink.getvalue().to_pybytes()
    return content
