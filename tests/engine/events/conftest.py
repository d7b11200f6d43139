"""The registry of meters that the tests of listings use."""

import pytest

from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import Store


@pytest.fixture
def registry(store: Store) -> MeterRegistry:
    return MeterRegistry(store)
