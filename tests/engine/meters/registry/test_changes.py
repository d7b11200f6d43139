"""Meters are changed, deleted, found and listed."""

from datetime import timedelta
from decimal import Decimal

import pytest

from engine.errors import InvalidMeter, NotFound
from engine.meters.definition import parse_definition
from engine.meters.meter import MeterState
from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import Store
from tests.engine.meters.registry.one_meter import NOON, SUM, SetClock, answer, make_ready, put, rollups


def test_a_change_of_display_keeps_the_rollup(store: Store, registry: MeterRegistry, clock: SetClock) -> None:
    put(store, 1, 5, NOON)
    created = registry.create(parse_definition(SUM))
    make_ready(store, registry, clock)
    clock.at += timedelta(hours=1)

    changed = registry.update(
        "tokens", lambda _: parse_definition(SUM | {"name": "Tokens", "description": "All of them"})
    )

    assert (changed.id, changed.rollup, changed.state) == (created.id, created.rollup, MeterState.READY)
    assert (changed.definition.name, changed.definition.description) == ("Tokens", "All of them")
    assert (changed.created_at, changed.updated_at) == (NOON, clock.at)
    assert answer(store, changed) == {(): Decimal(5)}


def test_a_change_of_group_by_is_a_new_rollup_that_answers_right_at_once_and_when_filled(
    store: Store, registry: MeterRegistry, clock: SetClock
) -> None:
    put(store, 1, 5, NOON, model="a")
    put(store, 2, 7, NOON, model="b")
    created = registry.create(parse_definition(SUM))
    make_ready(store, registry, clock)
    put(store, 3, 11, clock.at, model="b")  # through the views of the first rollup

    changed = registry.update(created.id, lambda _: parse_definition(SUM | {"groupBy": {"model": "$.model"}}))

    by_model = {("a",): Decimal(5), ("b",): Decimal(18)}
    assert (changed.id, changed.state) == (created.id, MeterState.SETTLING)
    assert answer(store, changed, "model") == by_model
    assert rollups(store) == {changed.rollup} != {created.rollup}
    make_ready(store, registry, clock)
    ready = registry.find("tokens")
    assert (ready.state, ready.rollup) == (MeterState.READY, changed.rollup)
    assert answer(store, ready, "model") == by_model


def test_a_change_is_refused_like_a_creation(registry: MeterRegistry) -> None:
    created = registry.create(parse_definition(SUM))

    with pytest.raises(InvalidMeter):
        registry.update("tokens", lambda _: parse_definition(SUM | {"groupBy": {"k": "$..k"}}))
    with pytest.raises(NotFound):
        registry.update("nothing", lambda _: parse_definition(SUM))

    assert registry.find("tokens") == created


def test_a_deleted_meter_loses_its_tables_keeps_its_events_and_frees_its_slug(
    store: Store, registry: MeterRegistry, clock: SetClock
) -> None:
    put(store, 1, 5, NOON)
    first = registry.create(parse_definition(SUM))
    make_ready(store, registry, clock)

    registry.delete("tokens")

    assert rollups(store) == set()
    assert store.rows("SELECT count() FROM events") == [(1,)]
    assert registry.find(first.id).deleted_at == clock.at
    with pytest.raises(NotFound, match="meter not found: tokens"):
        registry.find("tokens")
    second = registry.create(parse_definition(SUM))
    make_ready(store, registry, clock)
    assert second.id != first.id
    assert answer(store, registry.find("tokens")) == {(): Decimal(5)}


def test_a_slug_is_free_again_however_often_its_meter_is_deleted(registry: MeterRegistry) -> None:
    for _ in range(5):
        registry.create(parse_definition(SUM))
        registry.delete("tokens")

    assert registry.all() == []


def test_deleting_again_works_by_id_and_not_by_slug(registry: MeterRegistry) -> None:
    meter = registry.create(parse_definition(SUM))
    registry.delete(meter.id)
    deleted = registry.find(meter.id)

    registry.delete(meter.id)

    assert registry.find(meter.id) == deleted
    with pytest.raises(NotFound):
        registry.delete("tokens")
    with pytest.raises(NotFound):
        registry.update(meter.id, lambda _: parse_definition(SUM))


def test_a_meter_is_found_by_slug_and_by_id_in_any_case(registry: MeterRegistry) -> None:
    meter = registry.create(parse_definition(SUM))

    assert registry.find("tokens") == meter
    assert registry.find(meter.id) == meter
    assert registry.find(meter.id.lower()) == meter
    for name in ("TOKENS", "token", "", meter.id[:-1]):
        with pytest.raises(NotFound, match=f"meter not found: {name}"):
            registry.find(name)


def test_meters_are_listed_oldest_first_deleted_ones_when_asked(registry: MeterRegistry, clock: SetClock) -> None:
    for slug in ("b", "a", "c"):
        registry.create(parse_definition(SUM | {"slug": slug}))
        clock.at += timedelta(seconds=1)
    registry.delete("a")

    assert [meter.slug for meter in registry.all()] == ["b", "c"]
    assert [meter.slug for meter in registry.all(include_deleted=True)] == ["b", "a", "c"]
    assert [meter.slug for meter in registry.of_type("call")] == ["b", "c"]
    assert registry.of_type("other") == []
