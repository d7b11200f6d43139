"""Opening of the configured store: a ClickHouse server over HTTP(S), or chDB embedded in this process."""

import contextlib
import importlib
import os
import ssl
import textwrap
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlencode

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.httputil import get_pool_manager

from engine.config.settings import Settings
from engine.config.store_settings import StoreSettings
from engine.errors import ConfigurationError, StoreError
from engine.store import sql
from engine.store.clickhouse import PROBE_TIMEOUT_SECONDS, Store
from engine.store.deduplication_logs import repair_deduplication_logs
from engine.store.errors import is_foreign
from engine.store.inspection import database_exists
from engine.store.memory import QueryMemory, memory_budget
from engine.store.migrations import missing_database

# UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, AUTHENTICATION_FAILED
_AUTHENTICATION_CODES = frozenset({192, 193, 194, 516})
_ACCESS_DENIED = 497
_UNKNOWN_DATABASE = 81


def open_store(settings: Settings, creates: bool = True) -> Store:
    """Open the configured store, create its database, and check the settings that exactly-once storage needs.

    Args: creates: whether to create a database that is missing.
    The caller must hold the lock on the data directory (`DirectoryLock`), because the deduplication logs in it are
    repaired after a crash.
    Raises: ConfigurationError, StoreUnavailable, StoreMisconfigured. MigrationsPending: the database is missing.
    """
    store = _open_server(settings, creates) if settings.store.url else _open_embedded(settings, creates)
    try:
        store.check()
    except BaseException as error:
        store.close()
        if isinstance(error, StoreError) and error.clickhouse_code == _UNKNOWN_DATABASE:
            raise missing_database(settings) from error
        raise
    return store


def embedded_path(settings: Settings) -> Path:
    """Return the directory of the embedded store. It does not exist before the store is opened for the first time."""
    return (settings.data_dir / "store").resolve()


def _open_embedded(settings: Settings, creates: bool) -> Store:
    path = embedded_path(settings)
    if not creates and not path.exists():
        raise missing_database(settings)
    repair_deduplication_logs(path)
    chdb = load_chdb()
    budget = memory_budget(settings)
    try:
        # chDB reads the settings of the server from the first handle. This one keeps it open until the store is closed.
        first = chdb.connect(f"{path}?{urlencode(budget.server_settings)}")
    except Exception as error:
        reason = str(error).partition(", Stack trace")[0]
        raise ConfigurationError(f"data_dir: Unable to open the chdb engine at '{path}': {reason}") from error
    # A process that ends before it has closed the store closes the handle, too: otherwise it could crash or hang.
    close = weakref.finalize(first, first.close)
    try:
        if creates:
            first.query(f"CREATE DATABASE IF NOT EXISTS {sql.identifier(settings.store.database)}")
    except BaseException:
        close()
        raise

    def connect() -> Client:
        client = clickhouse_connect.get_client(interface="chdb", path=str(path))
        client.database = settings.store.database
        return client

    return Store(connect, settings.store.handles, shared=False, on_close=close, query_memory=budget.query)


def _open_server(settings: Settings, creates: bool) -> Store:
    if creates:
        name = settings.store.database
        with contextlib.closing(server_store(settings, in_database=False).with_own_settings()) as store:
            # A user who may not create databases can use one that exists.
            if not database_exists(store, name):
                store.command(f"CREATE DATABASE IF NOT EXISTS {sql.identifier(name)}")
    return server_store(settings)


def server_store(settings: Settings, in_database: bool = True, seconds: int | None = None) -> Store:
    """Return a store on the configured ClickHouse server. It connects when it is used; nothing is created or checked.

    Args: in_database: False: the store is in the user's own database, because the configured one may not exist.
        seconds: how long one statement may take, without a second attempt; None: as the settings say.
    Raises: ConfigurationError: a certificate file is not usable.
    """
    store = settings.store
    scheme, host, port = store.address
    username, password = store.credentials
    pool = get_pool_manager(
        maxsize=store.handles + 1,  # One connection is for `Store.with_own_connection`.
        **({"ssl_context": tls_context(store)} if scheme == "https" else {}),
    )
    options: dict[str, Any] = {
        "interface": scheme,
        "host": host,
        "port": port,
        "username": username,
        "password": password,
        "pool_mgr": pool,
        "autogenerate_session_id": False,
        "form_encode_query_params": True,
        "send_receive_timeout": store.timeout_seconds,
        **({"database": store.database} if in_database else {}),
        **({} if seconds is None else _impatient(seconds)),
    }
    if store.certificate_location and not password:
        options["client_cert"] = store.certificate_location  # ClickHouse authenticates the user by it.
    limit = settings.query.memory_bytes
    query_memory = None if limit is None else QueryMemory(limit, limit, limit)
    probe_options = {**options, **_impatient(PROBE_TIMEOUT_SECONDS)}
    return Store(
        lambda: clickhouse_connect.get_client(**options),
        store.handles,
        shared=True,
        on_close=pool.clear,
        query_memory=query_memory,
        probe=lambda: clickhouse_connect.get_client(**probe_options),
    )


def _impatient(seconds: int) -> dict[str, Any]:
    return {"connect_timeout": seconds, "send_receive_timeout": seconds, "query_retries": 0}


@contextlib.contextmanager
def explained_refusals() -> Iterator[None]:
    """Convert what a ClickHouse server refuses to this user, whoever asks again. Raises: ConfigurationError."""
    try:
        yield
    except StoreError as error:
        if error.clickhouse_code in _AUTHENTICATION_CODES:
            settings = "store.username, store.password: ClickHouse does not accept this user with this password"
            raise ConfigurationError(f"{settings}: {error}") from error
        if error.clickhouse_code == _ACCESS_DENIED:
            raise ConfigurationError(f"store.username: this user lacks a right on ClickHouse: {error}") from error
        if is_foreign(error):
            found = textwrap.shorten(str(error), 200, placeholder="…")
            raise ConfigurationError(f"store.url: what answers there is not ClickHouse, correct it: {found}") from error
        raise


def tls_context(store: StoreSettings) -> ssl.SSLContext:
    """Return the TLS context for the certificates in the settings. Raises: ConfigurationError: a file is not usable."""
    try:
        context = ssl.create_default_context(cafile=store.ca_location)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"store.ca_location: cannot use {store.ca_location}: {error}") from None
    if store.certificate_location:
        try:
            context.load_cert_chain(store.certificate_location, store.key_location, password="")
        except (OSError, ValueError) as error:
            files = " and ".join(filter(None, (store.certificate_location, store.key_location)))
            raise ConfigurationError(f"store.certificate_location: cannot use {files}: {error}") from None
    return context


def load_chdb() -> ModuleType:
    """Load chDB into this process with UTC as the time zone of the host, and return it.

    chDB reads TZ once, when it is loaded, and fails to load if it does not know the zone, for example <+03>-3. No
    answer depends on this zone: windows are computed in the zone of each query.
    Raises: ConfigurationError: it is not installed.
    """
    zone = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    try:
        return importlib.import_module("chdb")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "store.url: is not set, and the embedded store is not installed: set it, or install meterport[embedded]"
        ) from error
    finally:
        if zone is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = zone
