"""A database without tables, for tests of the schema: the databases that other tests use keep their records."""

from collections.abc import Iterator

import pytest

from engine.config.settings import Settings
from engine.store.clickhouse import Store
from engine.store.opening import open_store


@pytest.fixture
def empty(settings: Settings) -> Iterator[Store]:
    opened = open_store(settings)
    yield opened
    opened.command(f"DROP DATABASE {settings.store.database} SYNC")
    opened.close()
