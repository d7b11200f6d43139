"""Opening the store that the settings name: a ClickHouse server over HTTP(S), or chDB in this process."""

import contextlib
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ProgrammingError
from clickhouse_connect.driver.httputil import get_pool_manager

from engine.config.settings import Settings
from engine.errors import ConfigurationError
from engine.store import sql
from engine.store.clickhouse import _PROBE_SECONDS, Store
from engine.store.deduplication_logs import mend_deduplication_logs
from engine.store.errors import our_errors
from engine.store.memory import QuestionMemory, memory_plan


def open_store(settings: Settings) -> Store:
    """Open the store the settings name, create its database, and check what exactly-once needs of it.

    The caller holds the data directory (`DirectoryLock`): what a crash left there is mended.
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
    plan = memory_plan(settings)
    try:
        first = _connect_embedded(path, plan.server_settings)
    except ProgrammingError as error:
        words = str(error).partition(", Stack trace")[0]
        reason = words.partition("': ")[2] or words  # the library names the path with all settings behind it
        raise ConfigurationError(f"data_dir: Unable to open the chdb engine at '{path}': {reason}") from error
    first.command(f"CREATE DATABASE IF NOT EXISTS {sql.identifier(settings.store.database)}")

    def connect() -> Client:
        client = _connect_embedded(path)
        client.database = settings.store.database
        return client

    return Store(connect, settings.store.handles, shared=False, on_close=first.close, question_memory=plan.question)


def _connect_embedded(path: Path, server_settings: Mapping[str, int] | None = None) -> Client:
    """Return a handle. Args: server_settings: of the engine, which takes them from the first handle alone."""
    return clickhouse_connect.get_client(interface="chdb", path=str(path), chdb_options=server_settings)


def _open_server(settings: Settings) -> Store:
    assert settings.store.url is not None  # noqa: S101 - the caller looked
    dsn = settings.store.url.get_secret_value()
    pool = get_pool_manager(maxsize=settings.store.handles + 1)  # one of them is `apart`
    options: dict[str, Any] = {
        "dsn": dsn,
        "pool_mgr": pool,
        "autogenerate_session_id": False,
        "form_encode_query_params": True,
        "send_receive_timeout": settings.store.timeout_seconds,
    }
    with our_errors(), contextlib.closing(clickhouse_connect.get_client(**options)) as client:
        client.command(f"CREATE DATABASE IF NOT EXISTS {sql.identifier(settings.store.database)}")
    options["database"] = settings.store.database
    most = settings.query.memory_bytes
    question_memory = None if most is None else QuestionMemory(most, most, most)
    quick = {**options, "connect_timeout": _PROBE_SECONDS, "send_receive_timeout": _PROBE_SECONDS, "query_retries": 0}
    return Store(
        lambda: clickhouse_connect.get_client(**options),
        settings.store.handles,
        shared=True,
        on_close=pool.clear,
        question_memory=question_memory,
        probe=lambda: clickhouse_connect.get_client(**quick),
    )


def load_engine() -> None:
    """Load chDB into this process, with UTC for the zone of the host.

    It reads TZ once and does not load where that is no zone it knows, as <+03>-3. No answer depends on it: windows are
    computed in the zone of each query.
    """
    zone = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    try:
        importlib.import_module("chdb")
    finally:
        if zone is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = zone
