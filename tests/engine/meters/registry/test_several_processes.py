"""Several processes create, change and delete meters at the same moment, and read what the others wrote."""

import contextlib
import dataclasses
import threading
import time
from datetime import timedelta

import pytest

from engine.errors import Conflict, NotFound
from engine.meters.definition import parse_definition
from engine.meters.meter import Meter, MeterState
from engine.meters.registry import CREATION_GRACE, LEAD, MeterRegistry
from engine.meters.rollups import create_rollup
from engine.store.clickhouse import Store
from tests.engine.meters.registry.one_meter import NOON, SUM, SetClock, rollups


def test_how_far_a_fill_came_is_not_recorded_for_a_meter_that_changed_or_went(registry: MeterRegistry) -> None:
    before = registry.create(parse_definition(SUM))
    changed = registry.update("tokens", lambda _: parse_definition(SUM | {"groupBy": {"model": "$.model"}}))

    assert registry.advance(before, MeterState.READY, NOON) is None
    assert registry.find("tokens") == changed
    registry.delete("tokens")
    assert registry.advance(changed, MeterState.READY, NOON) is None
    assert registry.find(changed.id).state is MeterState.DELETED


def test_two_processes_see_each_others_meters(store: Store, clock: SetClock) -> None:
    one, other = MeterRegistry(store, clock), MeterRegistry(store, clock)
    created = one.create(parse_definition(SUM))

    with pytest.raises(NotFound):
        other.find("tokens")
    with pytest.raises(Conflict):  # a writer reads before it writes
        other.create(parse_definition(SUM))
    changed = other.update("tokens", lambda _: parse_definition(SUM | {"name": "Tokens"}))
    assert changed.version > one.find("tokens").version == created.version
    one.refresh()
    assert one.find("tokens") == changed
    other.delete("tokens")
    one.refresh()
    assert one.all() == []


@pytest.mark.parametrize("deleted_before", [False, True])
def test_of_two_processes_that_make_one_slug_at_the_same_moment_one_does(
    store: Store, clock: SetClock, monkeypatch: pytest.MonkeyPatch, deleted_before: bool
) -> None:
    one, other = MeterRegistry(store, clock), MeterRegistry(store, clock)
    if deleted_before:
        one.create(parse_definition(SUM))
        one.delete("tokens")
    at_the_row, made = threading.Barrier(2, timeout=30), []
    insert_rows = Store.insert_rows

    def insert_together(*arguments: object) -> None:  # by now both processes have seen that the slug is free
        at_the_row.wait()
        insert_rows(*arguments)  # type: ignore[arg-type]

    def make(registry: MeterRegistry) -> None:
        with contextlib.suppress(Conflict):
            made.append(registry.create(parse_definition(SUM)))

    with monkeypatch.context() as patched:
        patched.setattr(Store, "insert_rows", insert_together)
        patched.setattr(MeterRegistry, "_build", lambda _, meter: meter)
        makers = [threading.Thread(target=make, args=(registry,)) for registry in (one, other)]
        for maker in makers:
            maker.start()
        for maker in makers:
            maker.join(60)

    assert [meter.id for meter in made] == [meter.id for meter in MeterRegistry(store, clock).all()]
    assert len(made) == 1


def test_an_older_picture_does_not_replace_a_newer_one(
    registry: MeterRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older snapshot is that of the refresh thread, which read the table before a meter was written to it."""
    rows, read = Store.rows, threading.Event()

    def linger(store: Store, statement: str, **parameters: object) -> object:
        found = rows(store, statement, **parameters)
        if threading.current_thread() is refresher:
            read.set()
            time.sleep(0.5)
        return found

    refresher = threading.Thread(target=registry.refresh)
    monkeypatch.setattr(Store, "rows", linger)
    refresher.start()
    assert read.wait(10)
    created = registry.create(parse_definition(SUM))
    refresher.join()

    assert registry.all() == [created]


def test_a_token_left_by_a_row_that_was_lost_keeps_no_slug(
    store: Store, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ClickHouse server died between the token and the part: the row is lost, so the meter was not created."""
    lost = MeterRegistry(store, clock)
    monkeypatch.setattr(MeterRegistry, "_build", lambda _, meter: meter)
    lost.create(parse_definition(SUM))
    store.command("ALTER TABLE meters DELETE WHERE true SETTINGS mutations_sync = 1")

    created = MeterRegistry(store, clock).create(parse_definition(SUM))

    assert [meter.id for meter in MeterRegistry(store, clock).all()] == [created.id]


def test_a_meter_deleted_while_another_process_makes_its_tables_stays_deleted(
    store: Store, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = MeterRegistry(store, clock), MeterRegistry(store, clock)

    def make_and_be_overtaken(store: Store, meter: Meter) -> None:
        create_rollup(store, meter)
        monkeypatch.undo()
        other.refresh()
        other.delete("tokens")

    monkeypatch.setattr("engine.meters.registry.create_rollup", make_and_be_overtaken)
    created = one.create(parse_definition(SUM))

    assert created.state is MeterState.DELETED
    assert MeterRegistry(store, clock).all() == []
    assert rollups(store) <= {"meter"}


def test_a_meter_made_anew_by_another_process_meanwhile_has_the_other_ones_tables(
    store: Store, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = MeterRegistry(store, clock), MeterRegistry(store, clock)

    def make_and_be_overtaken(store: Store, meter: Meter) -> None:
        create_rollup(store, meter)
        monkeypatch.undo()
        clock.at += LEAD + CREATION_GRACE + timedelta(seconds=1)
        other.refresh()
        other.resume_creation()

    monkeypatch.setattr("engine.meters.registry.create_rollup", make_and_be_overtaken)
    created = one.create(parse_definition(SUM))

    assert created == other.find("tokens")
    assert created.state is MeterState.SETTLING
    assert rollups(store) >= {created.rollup}


def test_what_a_user_asked_for_outlasts_a_step_another_process_takes_at_the_same_moment(
    store: Store, clock: SetClock
) -> None:
    one, other = MeterRegistry(store, clock), MeterRegistry(store, clock)
    created = one.create(parse_definition(SUM))
    other.refresh()
    one.delete("tokens")

    other._write(dataclasses.replace(created, state=MeterState.FILLING))  # it read before the deletion was written

    assert MeterRegistry(store, clock).all() == []


def test_a_meter_comes_back_from_the_store_as_it_was(store: Store, clock: SetClock) -> None:
    body = SUM | {
        "name": "Tokens „ü“",
        "description": "it's \\ 'quoted'\n",
        "eventFrom": "2025-01-01T00:00:00.123456+05:45",
        "groupBy": {"b": "$['it\\'s']", "a": "$.a"},
        "metadata": {"plan": "gold", "ü": ""},
    }
    created = MeterRegistry(store, clock).create(parse_definition(body))

    assert MeterRegistry(store, clock).find("tokens") == created
