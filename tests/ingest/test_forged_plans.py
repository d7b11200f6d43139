"""A plan that no Meterport process has made is discarded. A plan of a process whose clock is ahead is kept.

Case S8 of the security audit, docs/design.md R6c. The consumer and the store are real. The log is in memory, so that a
test decides the order of steps. tests/ingest/kafka/test_forged.py uses real brokers.
"""

import logging
from collections.abc import Callable
from datetime import timedelta

import pytest

from engine import metrics
from engine.errors import ConfigurationError
from engine.instants import Clock, milliseconds, utc_now
from engine.meters.definition import parse_definition
from engine.meters.meter import MeterState
from engine.store.clickhouse import Store
from ingest.claims import BatchClaims
from ingest.event_log import LATEST_STAMP_MS, Plan, Range
from tests.harness.memory_log import MemoryTopic
from tests.ingest.dying_process import Process, append, counts, killed_in_an_insert

IN_2096 = 4_000_000_000_000
HOUR = timedelta(hours=1)


def off_by(hours: float) -> Clock:
    return lambda: utc_now() + hours * HOUR


@pytest.fixture(params=[True, False], ids=["store shared", "store alone"])
def shared(store: Store, request: pytest.FixtureRequest) -> bool:
    store.shared = bool(request.param)
    return store.shared


@pytest.fixture
def topic() -> MemoryTopic:
    return MemoryTopic()


def refused() -> float:
    return float(metrics.PLANS_REFUSED._value.get())


def newest_stamp_ms(store: Store) -> int:
    return int(store.rows("SELECT toUnixTimestamp64Milli(max(stored_at)) FROM events")[0][0])


@pytest.mark.usefixtures("shared")
def test_a_plan_of_the_far_future_is_discarded_and_its_events_are_stored_today(
    store: Store, topic: MemoryTopic, caplog: pytest.LogCaptureFixture
) -> None:
    """S8."""
    append(topic, 0, "a", "b", "c", "d", "e")
    topic.plans[0] = Plan((Range(0, 0, 5),), IN_2096)
    before = refused()

    with caplog.at_level(logging.ERROR):
        Process(store, topic, 0).start().drain()

    assert counts(store) == [5, 5]
    assert abs(newest_stamp_ms(store) - milliseconds(utc_now())) < 3_600_000
    assert refused() == before + 1
    assert "plan_refused" in caplog.text
    assert "stamp=2096-10-02T07:06:40Z" in caplog.text
    assert topic.is_drained


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("records", [0, 3], ids=["of no records", "of records"])
def test_a_meter_made_after_a_forged_plan_becomes_ready(store: Store, topic: MemoryTopic, records: int) -> None:
    """S8: before, it would have been answered from the raw events for seventy years."""
    append(topic, 0, "a")
    append(topic, 1, *"bcd"[:records])
    topic.plans[1] = Plan((Range(1, 0, 5),), IN_2096)
    now = utc_now()
    process = Process(store, topic, 0, 1, clock=lambda: now).start()
    process.drain()
    process.registry.create(parse_definition({"slug": "m", "eventType": "call", "aggregation": "COUNT"}))
    now += timedelta(seconds=5)

    for _ in range(8):
        process.filler.step()
    process.registry.refresh()

    assert process.registry.find("m").state is MeterState.READY
    assert topic.plans == {}


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("hours", [2, 48], ids=str)
def test_a_half_inserted_plan_of_a_process_whose_clock_is_ahead_is_completed_under_its_stamp(
    store: Store, topic: MemoryTopic, hours: float
) -> None:
    """S8: with a new plan its events would be doubled. It is the same if our clock is behind."""
    append(topic, 0, "a", "b")
    ahead = Process(store, topic, 0, clock=off_by(hours)).start()
    with killed_in_an_insert(store, "event_keys_view"):
        ahead.drain()
    assert counts(store) == [2, 0]
    before = refused()

    Process(store, topic, 0).start().drain()

    assert counts(store) == [2, 2]
    assert newest_stamp_ms(store) > milliseconds(utc_now() + (hours - 1) * HOUR)
    assert refused() == before
    assert topic.is_drained


def test_a_half_inserted_plan_is_completed_though_its_claim_has_lost_its_keys(store: Store, topic: MemoryTopic) -> None:
    """S8: a claim is kept for 30 days, but its keys only for three hours."""
    store.shared = True
    append(topic, 0, "a", "b")
    ahead = Process(store, topic, 0, clock=off_by(24)).start()
    with killed_in_an_insert(store, "event_keys_view"):
        ahead.drain()
    store.command("ALTER TABLE event_claims UPDATE keys = '' WHERE 1 SETTINGS mutations_sync = 1")

    Process(store, topic, 0).start().drain()

    assert counts(store) == [2, 2]


class Paused(BaseException):
    """The process stops here until the test continues it."""


def planned_but_not_claimed(store: Store, topic: MemoryTopic, hours: float) -> Callable[[], None]:
    """Let a process whose clock is ahead plan the records of partition 0 and pause. Return what continues it."""
    ahead = Process(store, topic, 0, clock=off_by(hours)).start()
    drop = ahead.consumer.writer.drop_duplicates

    def pause(*_: object) -> None:
        raise Paused

    ahead.consumer.writer.drop_duplicates = pause  # type: ignore[method-assign,assignment]
    with pytest.raises(Paused):
        ahead.consumer.step(0)
    ahead.consumer.writer.drop_duplicates = drop  # type: ignore[method-assign]
    (plan,) = topic.plans.values()

    def go_on() -> None:
        ahead.log.take(0)
        records = ahead.log.reread(plan)
        batch = ahead.consumer._decode(records, max_months=None, clock_ms=plan.stored_ms)
        ahead.consumer._run_plan(plan, batch, last_confirmed=float("inf"))

    return go_on


@pytest.mark.usefixtures("shared")
def test_who_planned_with_a_clock_ahead_and_wakes_after_the_refusal_stores_nothing(
    store: Store, topic: MemoryTopic
) -> None:
    """S8: both processes see that the refusal came first."""
    append(topic, 0, "a", "b")
    go_on = planned_but_not_claimed(store, topic, 2)
    before = refused()

    Process(store, topic, 0).start().drain()
    assert refused() == before + 1
    go_on()

    assert counts(store) == [2, 2]
    assert newest_stamp_ms(store) < milliseconds(utc_now() + HOUR)


@pytest.mark.usefixtures("shared")
def test_who_wakes_between_the_refusal_and_the_new_plan_stores_nothing(store: Store, topic: MemoryTopic) -> None:
    """S8: here the claim of the refused plan comes before the claim of the new plan."""
    append(topic, 0, "a", "b")
    go_on = planned_but_not_claimed(store, topic, 2)
    (plan,) = topic.plans.values()
    now = Process(store, topic, 0).start()

    assert now.consumer.claims.refuse(plan)
    go_on()
    assert counts(store) == [0, 0]
    now.drain()

    assert counts(store) == [2, 2]


@pytest.mark.usefixtures("shared")
def test_a_plan_that_was_claimed_before_its_refusal_is_run_by_whoever_finds_it(
    store: Store, topic: MemoryTopic
) -> None:
    """S8: here the claim came before the refusal."""
    append(topic, 0, "a", "b")
    go_on = planned_but_not_claimed(store, topic, 2)
    (plan,) = topic.plans.values()
    with killed_in_an_insert(store, "event_keys_view"):
        go_on()
    assert counts(store) == [2, 0]

    now = Process(store, topic, 0).start()
    assert not now.consumer.claims.refuse(plan)
    now.drain()

    assert counts(store) == [2, 2]


def test_events_of_a_refused_plan_are_not_kept_from_others(store: Store, topic: MemoryTopic) -> None:
    """S8: a process that claims after the refusal stores nothing, so others must not treat its events as stored."""
    store.shared = True
    append(topic, 0, "a", "b")
    go_on = planned_but_not_claimed(store, topic, 2)
    (plan,) = topic.plans.values()
    BatchClaims(store, "memory").refuse(plan)
    other = Process(store, topic, 1).start()
    go_on()
    append(topic, 1, "a")
    topic.plans[2] = plan  # the same plan is also committed on a partition that no process has yet

    other.drain()

    assert counts(store, "events") == [1]


@pytest.mark.parametrize("guard", ["refuse", "_is_refused"])
def test_without_the_order_of_refusals_events_are_doubled(
    store: Store, topic: MemoryTopic, monkeypatch: pytest.MonkeyPatch, guard: str
) -> None:
    """S8: each guard is needed. This tests a refusal that ignores claims, and a claim that ignores refusals."""
    store.shared = False
    append(topic, 0, "a", "b")
    if guard == "refuse":
        ahead = Process(store, topic, 0, clock=off_by(2)).start()
        with killed_in_an_insert(store, "event_keys_view"):
            ahead.drain()
        monkeypatch.setattr(BatchClaims, guard, lambda *_: True)
        monkeypatch.setattr(BatchClaims, "covers", lambda *_: True)
        Process(store, topic, 0).start().drain()
    else:
        go_on = planned_but_not_claimed(store, topic, 2)
        monkeypatch.setattr(BatchClaims, guard, lambda *_: False)
        now = Process(store, topic, 0).start()
        assert topic.plans == {}, "it was refused"
        with killed_in_an_insert(store, "event_keys_view"):
            go_on()
        now.drain()

    assert counts(store, "events") == [4]


def test_a_clock_past_2099_plans_nothing(store: Store, topic: MemoryTopic) -> None:
    """S8: other processes would treat its plans as forged."""
    append(topic, 0, "a")
    after = Process(store, topic, 0, clock=lambda: utc_now().replace(year=2101)).start()

    with pytest.raises(ConfigurationError, match="is after 2099"):
        after.drain()

    assert topic.plans == {}
    assert milliseconds(utc_now().replace(2100, 1, 1, 0, 0, 0, 0)) - 1 == LATEST_STAMP_MS
