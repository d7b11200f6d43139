"""Fixtures every test shares: one engine for the session, a fresh migrated database for each test.

chDB takes one path per process, so the engine is opened once and kept open by an anchor; a database costs about 30 ms.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import pytest

from engine.migrations import migrate
from engine.settings import Settings, StoreSettings, load_settings
from engine.store import Store, open_store
from tests.broker import broker

__all__ = ["broker"]  # a fixture of another file, for every test that asks for it

_numbers = itertools.count()


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("meterport")
    anchor = clickhouse_connect.get_client(interface="chdb", path=str(directory / "store"))
    yield directory
    anchor.close()


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    database = f"test_{next(_numbers)}"
    return load_settings(overrides={"data_dir": data_dir, "store": StoreSettings(database=database).model_dump()})


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    opened = open_store(settings)
    migrate(opened, settings)
    yield opened
    opened.command(f"DROP DATABASE {settings.store.database} SYNC")
    opened.close()
