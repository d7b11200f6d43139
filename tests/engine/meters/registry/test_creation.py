"""A meter is created with its tables and views, and created again if its views were late."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from engine.errors import Conflict
from engine.meters.definition import parse_definition
from engine.meters.meter import Meter, MeterState
from engine.meters.registry import LEAD, MeterRegistry
from engine.store.clickhouse import Store
from tests.engine.meters.registry.one_meter import EPOCH, NOON, SUM, SetClock, answer, make_ready, put, rollups


def test_a_meter_is_created_with_its_tables_and_views(store: Store, registry: MeterRegistry) -> None:
    meter = registry.create(parse_definition(SUM | {"groupBy": {"model": "$.model"}}))

    assert (meter.slug, meter.state, meter.created_at, meter.filled_to) == ("tokens", MeterState.SETTLING, NOON, EPOCH)
    assert meter.visible_from == NOON + timedelta(seconds=2)
    found = store.rows("SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE 'meter%'")
    assert {name for (name,) in found} - {"meters"} == {
        f"{meter.rollup}_{grain}{view}" for grain in ("minute", "quarter", "day") for view in ("", "_view")
    }


def test_what_the_fill_leaves_to_the_views_they_take(store: Store, registry: MeterRegistry, clock: SetClock) -> None:
    """This holds even if a clock is finer than the stamps: fill and views meet within one millisecond."""
    clock.at = NOON + timedelta(microseconds=700)
    meter = registry.create(parse_definition(SUM))

    put(store, 1, 5, meter.visible_from)  # rounded down to milliseconds, as the stamps of batches are
    put(store, 2, 7, meter.visible_from - timedelta(milliseconds=1))
    make_ready(store, registry, clock)

    assert answer(store, registry.find("tokens")) == {(): Decimal(12)}


def test_a_slug_is_used_once(registry: MeterRegistry) -> None:
    registry.create(parse_definition(SUM))

    with pytest.raises(Conflict, match="meter with the same slug already exists"):
        registry.create(parse_definition(SUM | {"aggregation": "MAX"}))

    assert [meter.definition.aggregation for meter in registry.all()] == ["SUM"]


def test_views_that_stand_too_late_are_made_anew(store: Store, registry: MeterRegistry, clock: SetClock) -> None:
    late = NOON + timedelta(milliseconds=1501)
    # The views exist only 499 ms before they take over, so they might miss an event.
    clock.next = [NOON, NOON, late, late]
    clock.at = late

    meter = registry.create(parse_definition(SUM))

    assert (meter.state, meter.created_at) == (MeterState.SETTLING, NOON)
    assert meter.visible_from > late + LEAD
    assert rollups(store) == {meter.rollup}


def test_views_that_stand_just_in_time_are_kept(registry: MeterRegistry, clock: SetClock) -> None:
    clock.next = [NOON, NOON, NOON + timedelta(milliseconds=1500)]

    meter = registry.create(parse_definition(SUM))

    assert meter.visible_from == NOON + LEAD


def test_views_are_too_late_as_well_for_a_stamp_ahead_of_the_clock(
    store: Store, registry: MeterRegistry, clock: SetClock
) -> None:
    """Another process, whose clock is ahead, stores a batch while the views are created."""
    ahead = NOON + timedelta(minutes=5)

    class Overtaken(MeterRegistry):
        stored = False

        def _build(self, meter: Meter) -> Meter:
            if not self.stored:
                self.stored = True
                put(store, 1, 5, ahead)
            return super()._build(meter)

    registry = Overtaken(store, clock)

    meter = registry.create(parse_definition(SUM))

    assert meter.visible_from > ahead + LEAD
    clock.at = ahead + LEAD
    make_ready(store, registry, clock)
    assert answer(store, registry.find("tokens")) == {(): Decimal(5)}


def test_views_that_are_always_late_stand_in_the_end(store: Store) -> None:
    """In this store, creating six tables takes longer than the lead."""

    class Slow(SetClock):
        def __call__(self) -> datetime:
            self.at += timedelta(seconds=5)
            return self.at

    registry = MeterRegistry(store, Slow())

    meter = registry.create(parse_definition(SUM))

    assert meter.state is MeterState.SETTLING
    assert rollups(store) == {meter.rollup}


def test_a_meter_is_visible_after_the_newest_stamp_if_the_clock_was_set_back(
    store: Store, registry: MeterRegistry, clock: SetClock
) -> None:
    ahead = NOON + timedelta(hours=3)
    put(store, 1, 5, ahead)

    meter = registry.create(parse_definition(SUM))

    assert meter.visible_from == ahead + LEAD
    put(store, 2, 7, ahead + LEAD)  # for the views
    clock.at = ahead
    make_ready(store, registry, clock)
    assert answer(store, registry.find("tokens")) == {(): Decimal(12)}
