"""Meters created after their events: complete at once, and unchanged after the fill, whatever happens in between.

All answers are compared with the fold.
"""

import dataclasses
from datetime import UTC, datetime

import pytest

from engine.meters.meter import MeterState
from engine.meters.registry import MeterRegistry
from engine.usage.answers import query_json
from tests.engine.meters.conftest import LAST, MODELS, QUESTIONS, TOKENS, Metering, events
from tests.harness import oracle
from tests.harness.translation import definition, rows, usage_query

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("meter", [TOKENS, MODELS, LAST], ids=lambda meter: meter.slug)
def test_a_meter_created_after_its_events_answers_alike_in_every_state(metering: Metering, meter: oracle.Meter) -> None:
    metering.take(events(0, 80))
    metering.create(meter)
    filler = metering.filler()

    seen = [(metering.state(meter), metering.check(meter))]
    metering.pass_time()
    while filler.step():
        seen.append((metering.state(meter), metering.check(meter)))

    assert seen == [
        (MeterState.SETTLING, {"raw"}),
        (MeterState.FILLING, {"raw"}),
        (MeterState.FILLING, {"raw"}),
        (MeterState.READY, {"minute", "quarter", "day"}),
    ]


def test_a_meter_without_events_is_ready_after_two_steps(metering: Metering) -> None:
    metering.create(TOKENS)
    metering.pass_time()
    filler = metering.filler()

    assert [filler.step(), filler.step(), filler.step()] == [True, True, False]

    assert metering.state(TOKENS) is MeterState.READY
    assert metering.check(TOKENS) == {"minute", "quarter", "day"}


def test_a_fill_in_many_pieces_with_ingest_going_on_misses_nothing_and_doubles_nothing(metering: Metering) -> None:
    metering.take(events(0, 60))
    metering.create(TOKENS)
    filler = metering.filler(segment_events=7)
    metering.take(events(1000, 20))  # stamped before the views take over, so the fill writes them
    metering.pass_time()

    steps, number = 0, 2000
    while metering.state(TOKENS) is not MeterState.READY:
        filler.step()
        metering.take(events(number, 5) + events(number - 5, 2))  # for the views: other hours, old events, duplicates
        metering.check(TOKENS)
        metering.pass_time(0.01)
        steps, number = steps + 1, number + 5

    assert steps > 8
    assert metering.check(TOKENS) == {"minute", "quarter", "day"}
    assert metering.store.rows("SELECT count() FROM events") == [(len(metering.fold.events()),)]


def test_a_meter_deleted_while_it_fills_is_left_alone(metering: Metering) -> None:
    metering.take(events(0, 60))
    metering.create(TOKENS)
    metering.create(MODELS)
    metering.pass_time()
    filler = metering.filler(segment_events=5)
    filler.step()
    filler.step()

    metering.registry.delete("tokens")
    while filler.step():
        pass

    assert metering.state(MODELS) is MeterState.READY
    tables = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name LIKE 'meter_tokens%'"
    assert metering.store.rows(tables) == [(0,)]
    metering.check(MODELS)


def test_a_meter_deleted_by_another_process_is_given_up_as_soon_as_that_is_seen(metering: Metering) -> None:
    metering.take(events(0, 60))
    metering.create(TOKENS)
    metering.pass_time()
    filler = metering.filler(segment_events=5)
    filler.step()
    filler.step()

    MeterRegistry(metering.store, metering.clock).delete("tokens")

    assert not filler.step()
    assert metering.registry.all() == []


def test_a_meter_changed_while_it_fills_is_filled_anew(metering: Metering) -> None:
    metering.take(events(0, 60))
    metering.create(MODELS)
    metering.pass_time()
    filler = metering.filler(segment_events=5)
    filler.step()
    filler.step()
    half = metering.registry.find("models")
    changed = dataclasses.replace(MODELS, group_by={"kind": "$.tokens"})

    metering.registry.update("models", lambda _: definition(changed))
    metering.take(events(1000, 10))
    metering.pass_time()
    while filler.step():
        pass

    ready = metering.registry.find("models")
    assert ready.state is MeterState.READY
    assert ready.rollup != half.rollup
    assert half.filled_to > datetime(1970, 1, 1, tzinfo=UTC)
    query = oracle.Query(window_size="HOUR", group_by=("kind",))
    answer = query_json(metering.store, ready, usage_query(query).resolved(ready))
    assert rows(answer.rows) == metering.fold.usage(changed, query)


@pytest.mark.parametrize("from_", ["2025-11-02T06:30:00+00:00", "2025-11-02T06:30:15.250+00:00"])
def test_events_before_a_meters_start_do_not_count_in_any_state(metering: Metering, from_: str) -> None:
    meter = dataclasses.replace(TOKENS, event_from=datetime.fromisoformat(from_))
    metering.take(events(0, 200))
    metering.create(meter)
    metering.check(meter)
    metering.pass_time()
    filler = metering.filler()

    while filler.step():
        metering.check(meter)
    metering.take(events(1000, 50))

    assert metering.state(meter) is MeterState.READY
    assert {"minute", "quarter", "day"} <= metering.check(meter)
    assert len(metering.fold.usage(meter, QUESTIONS[0])) < len(metering.fold.usage(TOKENS, QUESTIONS[0]))
