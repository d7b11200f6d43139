"""ClickHouse, through clickhouse-connect: a server over HTTP(S), or chDB inside this process.

Owns: connections, the settings every insert carries, the start-up check of them, driver errors → ours.
Everything else in the engine speaks to this class; it alone knows which of the two is behind it.
chDB is synchronous and a handle serves one call at a time, so there are several handles, handed out like
connections; call from threads. One engine path per process.
Source: docs/design.md R1, R5, R7.
"""

import contextlib
import copy
import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import (
    DatabaseError,
    Error,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)
from clickhouse_connect.driver.httputil import get_pool_manager

from engine import sql
from engine.embedded import load_engine, mend_deduplication_logs
from engine.errors import ConfigurationError, QueryTimeout, StoreError, StoreMisconfigured, StoreUnavailable
from engine.settings import Settings

DEDUPLICATION_WINDOW = 10_000  # blocks a table remembers the tokens of; a retry comes within a few

# What exactly-once needs of every insert, sent with each of them: defaults differ between releases.
INSERT_SETTINGS: dict[str, str | int] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_insert": "enable",
    "deduplicate_insert_select": "enable_even_for_bad_queries",
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "materialized_views_ignore_errors": 0,
    "parallel_view_processing": 1,  # views beside each other; within one, a block stays a block (see below)
    # One insert is one block in every table of the chain: never split, never squashed with another.
    "max_insert_block_size": 100_000_000,
    "max_block_size": 100_000_000,
    "preferred_block_size_bytes": 0,
    "min_insert_block_size_rows": 100_000_000,
    "min_insert_block_size_bytes": 0,
    "min_insert_block_size_rows_for_materialized_views": 100_000_000,
    "min_insert_block_size_bytes_for_materialized_views": 0,
    "group_by_two_level_threshold": 0,
    "group_by_two_level_threshold_bytes": 0,
    "max_insert_threads": 1,
    "max_threads": 2,
    "max_partitions_per_insert_block": 0,
    # The text of a value must not depend on the server's profile.
    "function_json_value_return_type_allow_nullable": 0,
    "function_json_value_return_type_allow_complex": 0,
    "optimize_on_insert": 1,
}
# Sent with every SELECT. Ten patterns in one `or` would be compiled into one regular expression: seconds of CPU before
# the first row, where patterns are long.
READ_SETTINGS: dict[str, str | float] = {"optimize_or_like_chain": 0}
# Settings that younger releases brought; an older server knows the ones beside them.
_OPTIONAL = frozenset({"deduplicate_insert", "deduplicate_insert_select", *READ_SETTINGS})

_LIST_BYTES = 65_536  # of a bound list: a server takes twice as many in a field (http_max_field_value_size), escaped
UNKNOWN_TABLE = 60
_TIMEOUT_EXCEEDED = 159
_ENDS_IN_SETTINGS = re.compile(r"\bSETTINGS\s+\w+ = [^()]*\Z")
_PASSING = {  # codes and names of what ends by itself, or when somebody has made room
    159: "TIMEOUT_EXCEEDED",
    160: "TOO_SLOW",
    164: "READONLY",
    201: "QUOTA_EXCEEDED",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    203: "NO_FREE_CONNECTION",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    225: "NO_ZOOKEEPER",
    236: "ABORTED",
    241: "MEMORY_LIMIT_EXCEEDED",
    242: "TABLE_IS_READ_ONLY",
    243: "NOT_ENOUGH_SPACE",
    252: "TOO_MANY_PARTS",
    319: "UNKNOWN_STATUS_OF_INSERT",
    394: "QUERY_WAS_CANCELLED",
    425: "SYSTEM_ERROR",
    473: "DEADLOCK_AVOIDED",
    999: "KEEPER_EXCEPTION",
}


class Store:
    """A pool of connections to one ClickHouse database. Thread-safe."""

    def __init__(
        self, connect: Callable[[], Client], handles: int, shared: bool, on_close: Callable[[], None] = lambda: None
    ) -> None:
        self.shared = shared  # whether other processes may store into it too
        self._connect = connect
        self._on_close = on_close
        self._idle: queue.LifoQueue[Client] = queue.LifoQueue()
        self._room = threading.Semaphore(handles)
        self._insert_settings = dict(INSERT_SETTINGS)
        self._read_settings = dict(READ_SETTINGS)
        self._seconds: float | None = None

    def limited(self, seconds: float) -> "Store":
        """Return this store, its connections shared, for whom a SELECT ends in QueryTimeout after so long."""
        limited = copy.copy(self)
        limited._seconds = seconds
        limited._read_settings = {**self._read_settings, "max_execution_time": seconds}
        return limited

    # reading

    def rows(self, statement: str, **parameters: object) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT; `parameters` are bound by the server as {name:Type}."""
        with self._handle(self._seconds) as client:
            return list(client.query(*self._bound_and_set(statement, parameters)).result_rows)

    def text(self, statement: str, format_: str, parameters: Mapping[str, object]) -> bytes:
        """Return the rows of a SELECT in a ClickHouse output format."""
        with self._handle(self._seconds) as client:
            return bytes(client.raw_query(*self._bound_and_set(statement, parameters), fmt=format_))

    def arrow(self, statement: str, **parameters: object) -> pa.Table:
        """Return the rows of a SELECT as an Arrow table, all at once."""
        with self._handle(self._seconds) as client:
            return client.query_arrow(*self._bound_and_set(statement, parameters))

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
        missing = sorted(INSERT_SETTINGS.keys() - known - _OPTIONAL)
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

    def _bound_and_set(self, statement: str, parameters: Mapping[str, object]) -> tuple[str, dict[str, object] | None]:
        """Return a SELECT with the settings it is sent with, and the parameters it binds."""
        bound, values = _bound(statement, parameters)
        if not self._read_settings:
            return bound, values
        joint = "," if _ENDS_IN_SETTINGS.search(bound) else " SETTINGS"
        return f"{bound}{joint} {sql.settings(self._read_settings)}", values

    @contextlib.contextmanager
    def _handle(self, seconds: float | None = None) -> Iterator[Client]:
        with self._room, _our_errors(seconds):
            try:
                client = self._idle.get_nowait()
            except queue.Empty:
                client = self._connect()
            failed = False
            try:
                yield client
            except DatabaseError:
                failed = True  # chDB answers in Arrow what is asked next of a handle whose query for Arrow failed
                raise
            finally:
                if failed:
                    client.close()
                else:
                    self._idle.put(client)


def _bound(statement: str, parameters: Mapping[str, object]) -> tuple[str, dict[str, object] | None]:
    """Return a statement and the parameters it binds, None if it binds none; a long list is bound in pieces.

    clickhouse-connect puts values into the text itself, by Python's %, where it finds no {name:Type}: never let it.
    """
    bound: dict[str, object] = {}
    for name, value in parameters.items():
        if f"{{{name}:" not in statement:
            continue
        pieces = _pieces(value)
        if len(pieces) > 1:
            terms = ", ".join(f"{{{name}_{at}:\\1}}" for at in range(len(pieces)))
            statement = re.sub(rf"{{{name}:([^}}]+)}}", f"arrayConcat({terms})", statement)
            bound |= {f"{name}_{at}": piece for at, piece in enumerate(pieces)}
        else:
            bound[name] = value
    return statement, bound or None


def _pieces(value: object) -> list[object]:
    """Return a value, a list cut until each piece fits into one field of a request."""
    if not isinstance(value, list) or len(value) < 2 or len(str(value).encode()) <= _LIST_BYTES:
        return [value]
    middle = len(value) // 2
    return [*_pieces(value[:middle]), *_pieces(value[middle:])]


@contextlib.contextmanager
def _our_errors(seconds: float | None = None) -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise StoreUnavailable(str(error)) from error
    except DatabaseError as error:
        code = error.code
        if seconds is not None and code == _TIMEOUT_EXCEEDED:
            raise QueryTimeout(f"the query took longer than {seconds:g} seconds, ask for less") from error
        raise (StoreUnavailable(str(error)) if code in _PASSING else StoreError(str(error), code)) from error
    except Error as error:
        raise StoreError(str(error)) from error
    except pa.ArrowException as error:  # an answer that was cut off, or ends in what went wrong
        raise StoreUnavailable(f"the answer cannot be read: {error}") from error


def open_store(settings: Settings) -> Store:
    """Open the store the settings name, create its database, and check what exactly-once needs of it.

    The caller holds the data directory (`engine.embedded.DirectoryLock`): what a crash left there is mended first.
    Raises: ConfigurationError, StoreUnavailable, StoreMisconfigured.
    """
    store = _open_server(settings) if settings.store.url else _open_embedded(settings)
    try:
        store.check()
    except BaseException:
        store.close()
        raise
    return store


def _open_embedded(settings: Settings) -> Store:
    path = (settings.data_dir / "store").resolve()
    mend_deduplication_logs(path)
    load_engine()
    first = _connect_embedded(path)
    first.command(f"CREATE DATABASE IF NOT EXISTS {sql.identifier(settings.store.database)}")

    def connect() -> Client:
        client = _connect_embedded(path)
        client.database = settings.store.database
        return client

    return Store(connect, settings.store.handles, shared=False, on_close=first.close)


def _connect_embedded(path: Path) -> Client:
    try:
        return clickhouse_connect.get_client(interface="chdb", path=str(path))
    except ProgrammingError as error:
        raise ConfigurationError(f"data_dir: {str(error).partition(', Stack trace')[0]}") from error


def _open_server(settings: Settings) -> Store:
    assert settings.store.url is not None  # noqa: S101 - the caller looked
    dsn = settings.store.url.get_secret_value()
    pool = get_pool_manager(maxsize=settings.store.handles)
    options: dict[str, Any] = {
        "dsn": dsn,
        "pool_mgr": pool,
        "autogenerate_session_id": False,
        "form_encode_query_params": True,
        "send_receive_timeout": settings.store.timeout_seconds,
    }
    with _our_errors(), contextlib.closing(clickhouse_connect.get_client(**options)) as client:
        client.command(f"CREATE DATABASE IF NOT EXISTS {sql.identifier(settings.store.database)}")
    options["database"] = settings.store.database
    return Store(
        lambda: clickhouse_connect.get_client(**options), settings.store.handles, shared=True, on_close=pool.clear
    )
