"""The clock and the registry of these tests. After a test each live meter has its tables, and each table its meter."""

from collections.abc import Iterator

import pytest

from engine.meters.meter import MeterState
from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import Store
from tests.engine.meters.registry.one_meter import SetClock, rollups


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def registry(store: Store, clock: SetClock) -> MeterRegistry:
    return MeterRegistry(store, clock)


@pytest.fixture(autouse=True)
def _no_rollup_is_left_behind(store: Store) -> Iterator[None]:
    """Return whether each live meter has its tables, and each table its meter."""
    yield
    registry = MeterRegistry(store)
    built = {meter.rollup for meter in registry.all() if meter.state is not MeterState.CREATING}
    assert rollups(store) - {"meter"} == built
