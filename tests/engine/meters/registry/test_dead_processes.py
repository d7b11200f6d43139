"""The next process continues what a dead process began: meters that are half created, and tables without a meter."""

import dataclasses
from datetime import timedelta
from decimal import Decimal

import pytest

from engine.meters.definition import parse_definition
from engine.meters.meter import Meter, MeterState, rollup_name
from engine.meters.registry import LEAD, MeterRegistry
from engine.meters.rollups import create_rollup
from engine.store.clickhouse import Store
from tests.engine.meters.registry.one_meter import EPOCH, NOON, SUM, SetClock, answer, make_ready, put, rollups


def half_created(registry: MeterRegistry, slug: str = "tokens") -> Meter:
    """Register a meter as `create` does before it creates tables, where the process dies."""
    definition = parse_definition(SUM | {"slug": slug})
    visible_from = NOON + LEAD
    meter = Meter(
        f"01JNJ0000000000000000000{len(slug):02}", 1, definition, MeterState.CREATING,
        rollup_name(definition, visible_from), visible_from, EPOCH, NOON, NOON,
    )  # fmt: skip
    return registry._write(meter)


@pytest.mark.parametrize("tables_stand", [False, True])
def test_a_creation_that_was_cut_short_is_done_anew(store: Store, clock: SetClock, tables_stand: bool) -> None:
    put(store, 1, 5, NOON)
    left = half_created(MeterRegistry(store, clock))
    if tables_stand:
        create_rollup(store, left)
    registry = MeterRegistry(store, clock)  # the next process
    put(store, 2, 7, NOON + LEAD + timedelta(seconds=1))
    clock.at = NOON + timedelta(minutes=1)

    registry.resume_creation()

    resumed = registry.find("tokens")
    assert (resumed.id, resumed.state, resumed.visible_from) == (left.id, MeterState.SETTLING, clock.at + LEAD)
    assert rollups(store) == {resumed.rollup} != {left.rollup}
    assert answer(store, resumed) == {(): Decimal(12)}
    make_ready(store, registry, clock)
    assert answer(store, registry.find("tokens")) == {(): Decimal(12)}


def test_a_creation_that_may_still_be_under_way_is_left_alone(store: Store, clock: SetClock) -> None:
    registry = MeterRegistry(store, clock)
    left = half_created(registry)
    clock.at = left.visible_from + timedelta(seconds=1)

    registry.resume_creation()

    assert registry.find("tokens") == left


def test_a_meter_half_created_answers_from_the_events(store: Store, registry: MeterRegistry) -> None:
    put(store, 1, 5, NOON)

    left = half_created(registry)

    assert answer(store, left) == {(): Decimal(5)}


def test_rollups_no_meter_answers_from_are_dropped_at_start(store: Store, clock: SetClock) -> None:
    registry = MeterRegistry(store, clock)
    kept = registry.create(parse_definition(SUM))
    deleted = registry.create(parse_definition(SUM | {"slug": "gone"}))
    registry._write(dataclasses.replace(deleted, state=MeterState.DELETED))  # died before it dropped the tables
    create_rollup(store, dataclasses.replace(kept, rollup="meter_tokens_0123abcd"))  # died after the tables of a change
    store.command("DROP TABLE meter_tokens_0123abcd_quarter")
    store.command("CREATE TABLE meter_reports (n Int64) ENGINE = MergeTree ORDER BY n")  # a table of another program

    MeterRegistry(store, clock).drop_orphans()

    assert rollups(store) == {kept.rollup, "meter"}
    assert store.rows("SELECT count() FROM meter_reports") == [(0,)]
    put(store, 1, 5, NOON + LEAD)
    assert store.rows(f"SELECT sum(total) FROM {kept.table('day')}") == [(Decimal(5),)]
