"""Fixtures that all tests share: one chDB for the session, and an empty database with all tables for each test.

chDB accepts one path per process. It is therefore opened once, and an anchor connection keeps it open. With
METERPORT_TEST_TRANSPORT=http every test of a store runs against a ClickHouse server instead, see
tests/harness/clickhouse.py.
"""

import gc
import itertools
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import pytest

from engine.config.loading import load_settings
from engine.config.settings import Settings
from engine.store.clickhouse import Store
from tests.harness.chosen_broker import broker
from tests.harness.clickhouse import ClickHouseServer, clickhouse_server, server_settings
from tests.harness.databases import Database, Databases
from tests.harness.long_form import LONG
from tests.harness.sharing import share_out

__all__ = ["broker", "clickhouse_server"]  # fixtures of other files, which any test may request

_SERVICES = {"broker", "browser"}  # fixtures that start one
MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes a directory in it that only this user can enter
MEMORY_BYTES = 8 << 30  # a full run keeps a quarter of it
_OWN_DIRECTORY = pytest.StashKey[str]()
_FAILED = pytest.StashKey[int]()
_numbers = itertools.count()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the files of tests in memory, if there is enough and TMPDIR names no other place.

    The tests write many small files: an insert into a table takes 2 ms of processor time there and 6 ms on a disk. A
    killed process loses nothing of what it wrote to either. The long form uses the disk, because it fills gigabytes.
    """
    if "TMPDIR" in os.environ or LONG or _free_memory() < MEMORY_BYTES:
        return
    directory = tempfile.mkdtemp(prefix="meterport-tests-", dir=MEMORY)
    os.environ["TMPDIR"] = tempfile.tempdir = directory  # the variable is for workers and for what the tests start
    config.stash[_OWN_DIRECTORY] = directory


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what `pytest_configure` has made, unless a test has failed: its files may say why."""
    directory = config.stash.get(_OWN_DIRECTORY, None)
    if directory and config.stash.get(_FAILED, 0):
        sys.stderr.write(f"the files of the tests that failed are in {directory}; remove it, because it is memory\n")
    elif directory:
        shutil.rmtree(directory, ignore_errors=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    session.config.stash[_FAILED] = session.testsfailed
    gc.collect()
    gc.freeze()  # pytest looks five times for garbage whose end fails: there is none among what is left now


def _free_memory() -> int:
    """Return how many bytes of files the memory has place for: 0 where there is no such file system."""
    if not MEMORY.is_dir():
        return 0
    available = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    return min(shutil.disk_usage(MEMORY).free, int(available.split()[1]) * 1024)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only the long form runs, mark what test-quick leaves out, and order the tests for the workers."""
    if not LONG:
        left_out = [item for item in items if item.get_closest_marker("only_long")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        if _SERVICES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("thorough")
    items[:] = share_out(items, getattr(config, "workerinput", {}).get("workercount", 1))


def pytest_collection_finish(session: pytest.Session) -> None:  # noqa: ARG001 - the name is pytest's
    """Look no more for garbage among what was imported and collected, which stays until the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("meterport")
    anchor = clickhouse_connect.get_client(interface="chdb", path=str(directory / "store"))
    yield directory
    anchor.close()


@pytest.fixture
def transport() -> str:
    """Return how the store is reached: `chdb` in this process, `http` on a server. A module may run both."""
    return os.environ.get("METERPORT_TEST_TRANSPORT", "chdb")


@pytest.fixture
def new_settings(data_dir: Path, transport: str, request: pytest.FixtureRequest) -> Settings:
    """Return the settings of a store whose database does not exist yet."""
    database = f"test_{os.getpid()}_{next(_numbers)}"
    if transport == "chdb":
        return load_settings(overrides={"data_dir": data_dir, "store": {"database": database}})
    server: ClickHouseServer = request.getfixturevalue("clickhouse_server")
    return server_settings(server.url, data_dir, database=database)


@pytest.fixture(scope="session")
def databases(data_dir: Path) -> Iterator[dict[str, Databases]]:  # noqa: ARG001 - it must be open until they are closed
    """Yield the emptied databases of each transport."""
    of_transports: dict[str, Databases] = defaultdict(Databases)
    yield of_transports
    for emptied in of_transports.values():
        emptied.close()


@pytest.fixture
def database(databases: dict[str, Databases], transport: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    """Yield a database with all tables and no rows."""
    taken = databases[transport].take(lambda: request.getfixturevalue("new_settings"))
    yield taken
    databases[transport].give_back(taken)


@pytest.fixture
def store(database: Database) -> Store:
    return database.store


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> Settings:
    """Return the settings of the test's store, or of a new database if the test opens its own store."""
    if "database" in request.fixturenames:
        database: Database = request.getfixturevalue("database")
        return database.settings
    new: Settings = request.getfixturevalue("new_settings")
    return new
