"""Fixtures that all tests share: one chDB for the session, and a new database with all tables for each test.

chDB accepts one path per process. It is therefore opened once, and an anchor connection keeps it open. A database costs
about 100 ms of processor time. With METERPORT_TEST_TRANSPORT=http every test of a store runs against a ClickHouse
server instead (tests/harness/clickhouse.py).
"""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import pytest

from engine.config.loading import load_settings
from engine.config.settings import Settings
from engine.store.clickhouse import Store
from engine.store.migrations import migrate
from engine.store.opening import open_store
from tests.harness.broker import broker
from tests.harness.clickhouse import ClickHouseServer, clickhouse_server, server_settings

__all__ = ["broker", "clickhouse_server"]  # fixtures of other files, which any test may request

_SERVICES = {"broker", "browser"}  # fixtures that start one
LONGEST_FILES = (
    *("test_chaos.py", "test_crash.py", "test_examples.py"),
    *("test_outages.py", "test_log.py", "test_stored_positions.py"),  # they wait most of the time
)
_numbers = itertools.count()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only the long form runs, mark what test-quick leaves out, and share out the longest tests."""
    if os.environ.get("METERPORT_TEST_LONG") != "1":
        left_out = [item for item in items if item.get_closest_marker("only_long")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        if _SERVICES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("thorough")
    items[:] = _shared_out(items, getattr(config, "workerinput", {}).get("workercount", 1))


def _shared_out(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Return the tests in an order in which each worker begins with its share of the longest.

    At first each worker gets a run of tests that follow each other, all of the same length. Later an idle worker takes
    tests from the end of another one's.
    """
    longest = [item for item in items if item.path.name in LONGEST_FILES]
    others = iter([item for item in items if item.path.name not in LONGEST_FILES])
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        size = (len(items) - len(ordered)) // (workers - worker)
        own = longest[worker::workers][:size]
        ordered += [*own, *itertools.islice(others, size - len(own))]
    assert len(ordered) == len(items)
    return ordered


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
def settings(data_dir: Path, transport: str, request: pytest.FixtureRequest) -> Settings:
    database = f"test_{os.getpid()}_{next(_numbers)}"
    if transport == "chdb":
        return load_settings(overrides={"data_dir": data_dir, "store": {"database": database}})
    server: ClickHouseServer = request.getfixturevalue("clickhouse_server")
    return server_settings(server.url, data_dir, database=database)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    opened = open_store(settings)
    migrate(opened, settings)
    yield opened
    opened.command(f"DROP DATABASE {settings.store.database} SYNC")
    opened.close()
