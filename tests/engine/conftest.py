"""A store without tables, open for a whole module: for tests that only compute expressions."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config.loading import load_settings
from engine.store.clickhouse import Store
from engine.store.opening import open_store


@pytest.fixture(scope="module")
def bare_store(data_dir: Path) -> Iterator[Store]:
    opened = open_store(load_settings(overrides={"data_dir": data_dir, "store": {"database": "bare"}}))
    yield opened
    opened.close()
