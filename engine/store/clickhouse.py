"""ClickHouse, through clickhouse-connect: a server over HTTP(S), or chDB inside this process.

Owns: connections, the settings every insert and every question carries, the start-up check of them.
Everything else in the engine speaks to this class; it alone knows which of the two is behind it.
chDB is synchronous and a handle serves one call at a time, so there are several handles, handed out like
connections; call from threads. One engine path per process.
Source: docs/design.md R1, R5, R7, R22.
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

from engine.errors import QueryOverMemory, StoreMisconfigured
from engine.health import Pulse
from engine.store import sql
from engine.store.binding import bind, with_settings
from engine.store.errors import NO_LIMITS, UNKNOWN_TABLE, Limits, our_errors
from engine.store.memory import QuestionMemory
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
DEDUPLICATION_WINDOW = 10_000  # blocks a table remembers the tokens of; a retry comes within a few

_PROBE_SECONDS = 5  # how long a probe waits for its answer


class Store:
    """A pool of connections to one ClickHouse database. Thread-safe.

    Args: question_memory: of one question at most; None: as the server's own settings say. probe: connects as `connect`
        does, but waits for an answer for a few seconds only.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        handles: int,
        shared: bool,
        on_close: Callable[[], None] = lambda: None,
        question_memory: QuestionMemory | None = None,
        probe: Callable[[], Client] | None = None,
    ) -> None:
        self.shared = shared  # whether other processes may store into it too
        self.pulse = Pulse()  # when a statement last succeeded
        self._probe = probe or connect
        self._connect = connect
        self._on_close = on_close
        self._idle: queue.LifoQueue[Client] = queue.LifoQueue()
        self._room = threading.Semaphore(handles)
        self._insert_settings = dict(INSERT_SETTINGS)
        self._read_settings = dict(READ_SETTINGS)
        self._question_memory = question_memory
        self._settings_allowed: frozenset[str] = frozenset()
        self._alone = threading.Lock()  # held by the one question that may take much memory
        self._seconds: float | None = None

    def limited(self, seconds: float) -> "Store":
        """Return this store, its connections shared, for those who ask questions.

        A SELECT ends in QueryTimeout after so long, and in QueryOverMemory if it needs more memory than one may take.
        """
        limited = copy.copy(self)
        limited._seconds = seconds
        limited._read_settings = {**self._read_settings, "max_execution_time": seconds}
        return limited

    def apart(self) -> "Store":
        """Return this store for work that must not wait for anybody: with a connection that nobody else is given."""
        apart = copy.copy(self)
        apart._room = threading.Semaphore(1)
        return apart

    # reading

    def rows(self, statement: str, **parameters: object) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT; `parameters` are bound by the server as {name:Type}."""
        return self._ask(statement, parameters, lambda client, *asked: list(client.query(*asked).result_rows))

    def text(self, statement: str, format_: str, parameters: Mapping[str, object]) -> bytes:
        """Return the rows of a SELECT in a ClickHouse output format."""
        return self._ask(statement, parameters, lambda client, *asked: bytes(client.raw_query(*asked, fmt=format_)))

    def arrow(self, statement: str, **parameters: object) -> pa.Table:
        """Return the rows of a SELECT as an Arrow table, all at once."""
        return self._ask(statement, parameters, lambda client, *asked: client.query_arrow(*asked))

    def _ask(self, statement: str, parameters: Mapping[str, object], ask: Callable[..., _T]) -> _T:
        """Ask a question of a limited store with little memory, and if that is not enough, alone with more."""
        bound, values = bind(statement, parameters)
        memory = self._question_memory if self._seconds is not None else None
        if memory is None:
            return self._ask_within(bound, values, ask, Limits(self._seconds))
        try:
            return self._ask_within(bound, values, ask, Limits(self._seconds, memory.first))
        except QueryOverMemory:
            if memory.most <= memory.first or not self._alone.acquire(timeout=self._seconds or -1):
                raise
        try:
            return self._ask_within(bound, values, ask, Limits(self._seconds, memory.most))
        finally:
            self._alone.release()

    def _ask_within(
        self, bound: str, values: Mapping[str, object] | None, ask: Callable[..., _T], limits: Limits
    ) -> _T:
        settings = dict(self._read_settings)
        if limits.memory_bytes is not None and self._question_memory is not None:
            wanted = self._question_memory.settings(limits.memory_bytes)
            settings |= {name: value for name, value in wanted.items() if name in self._settings_allowed}
        with self._handle(limits) as client:
            return ask(client, with_settings(bound, settings), values)

    # writing

    def command(self, statement: str) -> None:
        """Run a DDL statement, or an INSERT … SELECT that carries its own settings."""
        with self._handle() as client:
            client.command(statement)

    def insert_block(self, table: str, block: pa.Table, token: str) -> None:
        """Insert rows as one block under a deduplication token.

        Safe to repeat with the same rows and token: tables of the chain that miss the block get it, others skip it.
        Raises: StoreUnavailable, StoreError: any part of the chain may have the block, any may not.
        """
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, block.schema) as writer:
            writer.write_table(block)
        self.insert_formatted(table, sink.getvalue().to_pybytes(), "Arrow", token, block.column_names)

    def insert_formatted(
        self, table: str, body: bytes, format_: str, token: str, columns: Sequence[str] | None = None
    ) -> None:
        """Insert rows in a ClickHouse input format as one block under a deduplication token; see `insert_block`."""
        with self._handle() as client:
            client.raw_insert(
                table,
                column_names=columns,
                insert_block=body,
                fmt=format_,
                settings={**self._insert_settings, "insert_deduplication_token": token},
            )

    def insert_rows(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str | None = None
    ) -> None:
        """Insert a few rows into a registry table, synchronously; under a token that it has, nothing happens."""
        once = {} if token is None else {**self._insert_settings, "insert_deduplication_token": token}
        with self._handle() as client:
            client.insert(table, rows, column_names=columns, settings={"async_insert": 0, **once})

    def fill_settings(self, token: str) -> str:
        """Return the SETTINGS list of an INSERT … SELECT into a chain."""
        return sql.settings({**self._insert_settings, "insert_deduplication_token": token})

    def ping(self) -> None:
        """Ask for one row on a connection of its own, however busy the others are, and note in `pulse` that it came."""
        with our_errors(), contextlib.closing(self._probe()) as client:
            client.query("SELECT 1")
        self.pulse.answered()

    # the start

    def check(self) -> None:
        """Read back what exactly-once needs, as the server would apply it.

        Raises: StoreMisconfigured: names the setting, its value and what it must be.
        """
        names = sorted({*INSERT_SETTINGS, *READ_SETTINGS})
        self._read_settings = {}
        known = {
            row[0]
            for row in self.rows("SELECT name FROM system.settings WHERE name IN {names:Array(String)}", names=names)
        }
        missing = sorted(INSERT_SETTINGS.keys() - known - OPTIONAL_SETTINGS)
        if missing:
            raise StoreMisconfigured(f"ClickHouse does not know the setting {missing[0]}: it is too old")
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
        if self._question_memory is not None:
            self._settings_allowed = self._allowed(self._question_memory.settings(self._question_memory.most))

    def _allowed(self, wanted: Mapping[str, int]) -> frozenset[str]:
        """Return those of some settings that the server knows and lets its user set so high."""
        rows = self.rows(sql.statement("settable"), names=[*wanted])
        allowed = frozenset(name for name, most in rows if most is None or wanted[name] <= float(most))
        if "max_memory_usage" not in allowed:
            logger.warning("query_memory_not_limited: the server's own settings say what a query may take")
        return allowed

    def check_tables(self) -> None:
        """Check that tables keep a deduplication window, and claims their order.

        Raises: StoreMisconfigured: names the table.
        """
        claims = "SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = 'event_claims'"
        for (engine,) in self.rows(claims) if self.shared else ():
            if engine != "MergeTree":
                raise StoreMisconfigured(f"table event_claims is a {engine}: only a MergeTree keeps claims in order")
        for table, definition in self.rows(sql.statement("chain_tables")):
            if f"non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}" not in definition:
                raise StoreMisconfigured(
                    f"table {table} does not keep a deduplication window of {DEDUPLICATION_WINDOW}"
                )

    def close(self) -> None:
        """Close every idle connection, then whatever the store holds open besides."""
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                break
        self._on_close()

    @contextlib.contextmanager
    def _handle(self, limits: Limits = NO_LIMITS) -> Iterator[Client]:
        with self._room, our_errors(limits):
            try:
                client = self._idle.get_nowait()
            except queue.Empty:
                client = self._connect()
            failed = False
            try:
                yield client
                self.pulse.answered()
            except (DatabaseError, OSError):
                failed = True  # chDB answers in Arrow what is asked next of a handle whose query for Arrow failed
                raise
            finally:
                if failed:
                    client.close()
                else:
                    self._idle.put(client)
