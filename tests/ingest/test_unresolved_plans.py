"""A plan that runs again keeps the same events as in its first run, whatever else was read in between.

A process dies with an insert half done: some tables have the block, some do not. Until its plan runs again, events that
it may have stored must not be checked for duplicates. The consumer and the store are real. The log is in memory, so
that a test decides which process has which partition, and in which order partitions come back.
tests/ingest/test_plans_in_any_order.py searches for other orders of steps.
"""

from datetime import timedelta

import pytest

from engine.instants import utc_now
from engine.meters.definition import parse_definition
from engine.meters.meter import MeterState
from engine.store.clickhouse import Store
from tests.harness.memory_log import MemoryTopic
from tests.ingest.dying_process import Process, append, counts, half_insert, killed_in_an_insert, usage_of


@pytest.fixture
def topic() -> MemoryTopic:
    return MemoryTopic()


def test_an_event_sent_again_while_its_plan_waits_on_another_partition_is_stored_once(
    store: Store, topic: MemoryTopic
) -> None:
    half_insert(store, topic, "a", "b")
    append(topic, 1, "a", "c")

    alive = Process(store, topic, 1).start()
    alive.drain()
    alive.log.give(0)
    alive.drain()

    assert counts(store) == [3, 3]
    assert topic.is_drained


def test_a_plan_stored_at_the_start_is_acknowledged_before_its_partition_comes_back(
    store: Store, topic: MemoryTopic
) -> None:
    """Otherwise it would run again after the tables have forgotten its token, and be stored twice."""
    half_insert(store, topic, "a")
    append(topic, 1, "b")

    Process(store, topic, 1).start().drain()

    assert topic.is_drained


def test_a_plan_whose_keys_the_claims_forgot_is_run_before_anything_is_judged(store: Store, topic: MemoryTopic) -> None:
    """Several processes share the store, and all were down for more than the three hours that keys are kept."""
    store.shared = True
    half_insert(store, topic, "a", "b")
    store.command("ALTER TABLE event_claims UPDATE keys = '' WHERE 1 SETTINGS mutations_sync = 1")
    append(topic, 1, "a", "c")

    Process(store, topic, 1).start().drain()
    Process(store, topic, 0).start().drain()

    assert counts(store) == [3, 3]


def test_claims_forgotten_while_a_process_slept_are_made_good_before_it_goes_on(
    store: Store, topic: MemoryTopic
) -> None:
    store.shared = True
    sleeper = Process(store, topic, 1).start()
    half_insert(store, topic, "a", "b")
    store.command("ALTER TABLE event_claims UPDATE keys = '' WHERE 1 SETTINGS mutations_sync = 1")
    append(topic, 1, "a", "c")

    sleeper.drain()
    Process(store, topic, 0).start().drain()

    assert counts(store) == [3, 3]


def test_a_plan_this_process_has_stored_is_not_run_again_when_its_partition_comes_back(
    store: Store, topic: MemoryTopic
) -> None:
    append(topic, 0, "a")
    append(topic, 1, "b")
    process = Process(store, topic, 0, 1).start()
    acknowledge = process.log.acknowledge
    process.log.acknowledge = lambda _: None  # type: ignore[method-assign,assignment]
    process.consumer.step(0)
    process.log.acknowledge = acknowledge  # type: ignore[method-assign]
    process.log.take(0)
    process.log.give(0)
    store.command("ALTER TABLE events MODIFY SETTING non_replicated_deduplication_window = 0")  # forget its tokens

    process.drain()

    assert counts(store, "events") == [2]
    assert topic.is_drained


def test_a_meter_is_not_answered_from_its_rollup_while_a_batch_is_in_it_only_in_part(
    store: Store, topic: MemoryTopic
) -> None:
    """Until then the raw events answer, which already contain the batch: usage must not decrease."""
    store.shared = True
    now = utc_now()
    dead = Process(store, topic, 1, clock=lambda: now).start()
    meter = dead.registry.create(parse_definition({"slug": "m", "eventType": "call", "aggregation": "COUNT"}))
    now += timedelta(seconds=5)
    append(topic, 1, "a", "b")
    with killed_in_an_insert(store, f"{meter.rollup}_minute_view"):
        dead.drain()
    leader = Process(store, topic, 0, clock=lambda: now).start()

    for _ in range(5):
        leader.filler.step()
    assert usage_of(store, leader, "m") == (MeterState.FILLING, 2)
    leader.log.give(1)
    leader.drain()
    for _ in range(5):
        leader.filler.step()

    assert usage_of(store, leader, "m") == (MeterState.READY, 2)
