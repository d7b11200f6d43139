"""A partition with too many invalid records in a row is held, and everything else continues (N21).

Before, one producer that wrote the prefix of a schema registry stopped the API, the customers' page and all partitions.
The log is a real topic, or in memory if the test must decide which process has which partition.
"""

import json
import logging
import threading
from collections.abc import Callable
from contextlib import closing

import pytest

from engine.config.settings import IngestSettings, Settings
from engine.instants import milliseconds, utc_now
from engine.meters.definition import parse_definition
from engine.meters.fill import Filler
from engine.meters.meter import Meter, MeterState
from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import Store
from ingest.consumer import Consumer
from ingest.decoding import Batch
from ingest.event_log import Range, ranges_of
from ingest.fill_barrier import FillBarrier
from ingest.kafka.log import KafkaLog
from ingest.stored_positions import StoredPositions
from tests.harness.alerts import check_fires, scrape
from tests.harness.memory_log import MemoryLog, MemoryTopic
from tests.harness.services import available_or_skip
from tests.harness.topics import Topic, lag, wait_for
from tests.ingest.conftest import OpenLog
from tests.ingest.kafka.monitored import monitored

BAD = b"\0\0\0\0\x0c{}"
LIMIT = 5


def _event(number: int) -> bytes:
    return json.dumps({"specversion": "1.0", "id": f"{number}", "source": "s", "type": "t", "subject": "u"}).encode()


def _consumer(log: KafkaLog | MemoryLog, store: Store, limit: int = LIMIT) -> Consumer:
    consumer = Consumer(log, store, IngestSettings(max_dead_letter_run=limit), threading.Event())
    consumer.start()
    return consumer


def _counts(store: Store) -> tuple[int, int]:
    """Return how many different events and dead letters are stored."""
    statement = """SELECT (SELECT count() FROM events), (SELECT count() FROM dead_letters),
        (SELECT count() - uniqExact(id) FROM events), (SELECT uniqExact(key) - count() FROM event_keys)"""
    [(events, letters, doubled, unequal)] = store.rows(statement)
    assert (doubled, unequal) == (0, 0)
    return events, letters


def _consume(consumer: Consumer, done: Callable[[], bool]) -> None:
    wait_for(lambda: not consumer.step(0.1) and done())


def test_a_run_of_bad_records_holds_its_partition_and_the_others_go_on(
    open_log: OpenLog, topic: Topic, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    topic.put(_event(0), *[BAD] * 7, _event(1), partition=1)
    topic.put(_event(2), partition=0)
    log = open_log()
    consumer = _consumer(log, store)

    _consume(consumer, lambda: _counts(store) == (2, 0) and bool(log.held()))
    topic.put(*[_event(number) for number in range(3, 8)], partition=2)
    topic.put(_event(9), partition=1)
    _consume(consumer, lambda: _counts(store) == (7, 0))

    [run] = log.held()
    assert run[:4] == (1, 1, 1, 5)
    assert "schema registry" in run.reason
    assert caplog.text.count("partition_held partition=1 first=1 records=5") == 1
    assert "ingest.max_dead_letter_run above 5" in caplog.text
    _consume(consumer, lambda: log.waiting() == 0)
    wait_for(lambda: lag(log) == 9)  # the lag counts the records that are not stored
    assert {number: commit for number, commit in topic.committed().items() if number == 1} == {1: (1, "")}


def test_a_partition_that_is_held_is_told_and_alerted(topic: Topic, store: Store, settings: Settings) -> None:
    topic.put(_event(0), *[BAD] * 7, partition=1)
    with monitored(topic, store, settings) as (health, log):
        consumer = _consumer(log, store)
        _consume(consumer, lambda: bool(log.held()))

        [told] = health.readiness().degraded
        assert told.startswith("partition 1 is not read from offset 1 on: 5 records in a row are not events")
        found = scrape()
        available_or_skip(lambda: check_fires("MeterportPartitionHeld", found, found, 1))


def test_a_held_partition_stays_where_it_is_through_any_restart_until_the_limit_is_raised(
    topic: Topic, store: Store
) -> None:
    """No event is lost, and none is counted twice."""
    topic.put(_event(0), *[BAD] * 7, _event(1), partition=1)
    topic.put(_event(2), partition=0)
    for _ in range(2):
        with closing(KafkaLog(topic.settings(), positions=StoredPositions(store))) as log:
            _consume(_consumer(log, store), lambda log=log: bool(log.held()))  # type: ignore[misc]
            assert _counts(store) == (2, 0)

    with closing(KafkaLog(topic.settings(), positions=StoredPositions(store))) as log:
        consumer = _consumer(log, store, limit=1000)
        _consume(consumer, lambda: _counts(store) == (3, 7))
        assert log.held() == []


def test_what_was_read_of_a_partition_after_it_is_held_is_not_passed_over_at_the_topics_end(
    open_log: OpenLog, topic: Topic, store: Store
) -> None:
    """If nothing is left to plan, an acknowledgement commits the end of the topic. Here something is left."""
    topic.put(_event(0), *[BAD] * 7, partition=1)
    log = open_log()
    consumer = _consumer(log, store)
    _consume(consumer, lambda: bool(log.held()))

    for number in range(1, 4):
        topic.put(_event(number), partition=0)
        _consume(consumer, lambda number=number: _counts(store) == (number + 1, 0))  # type: ignore[misc]

    assert topic.committed()[1] == (1, "")


def test_a_partition_is_read_on_by_its_next_owner_with_a_larger_limit(store: Store) -> None:
    topic = MemoryTopic()
    topic.append(0, *[BAD] * 6, _event(1), arrived_ms=milliseconds(utc_now()))
    topic.append(1, _event(2), arrived_ms=milliseconds(utc_now()))
    log = MemoryLog(topic, [0, 1])
    consumer = _consumer(log, store)
    _drain(consumer)
    assert (_counts(store), len(log.held())) == ((1, 0), 1)

    log.take(0)
    _drain(_consumer(MemoryLog(topic, [0]), store, limit=100))

    assert _counts(store) == (2, 6)
    assert topic.is_drained


def test_a_plan_with_bad_records_is_run_again_whatever_the_limit_is_now(store: Store) -> None:
    """The plan was made with a larger limit, and its rows are already stored, completely or in part."""
    topic = MemoryTopic()
    topic.append(0, *[BAD] * 6, _event(1), arrived_ms=milliseconds(utc_now()))
    first = _consumer(MemoryLog(topic, [0]), store, limit=100)
    batch = first._fetch(0)
    plan = first._log.plan((_range(batch),), first._next_stamp_ms())
    assert plan is not None

    log = MemoryLog(topic, [0])
    _drain(_consumer(log, store))

    assert _counts(store) == (1, 6)
    assert (topic.is_drained, log.held()) == (True, [])


def test_bad_records_before_and_after_another_process_had_the_partition_are_no_run(store: Store) -> None:
    topic = MemoryTopic()
    now = milliseconds(utc_now())
    topic.append(0, *[BAD] * 4, arrived_ms=now)
    log = MemoryLog(topic, [0])
    consumer = _consumer(log, store)
    _drain(consumer)

    log.take(0)
    topic.append(0, _event(1), arrived_ms=now)
    _drain(_consumer(MemoryLog(topic, [0]), store))
    log.give(0)
    topic.append(0, *[BAD] * 4, arrived_ms=now)
    _drain(consumer)

    assert (_counts(store), log.held()) == ((1, 8), [])


def test_no_fill_of_a_meter_waits_for_a_partition_that_is_held(store: Store) -> None:
    topic = MemoryTopic()
    topic.append(0, *[BAD] * 6, arrived_ms=milliseconds(utc_now()))
    topic.append(1, _event(1), arrived_ms=milliseconds(utc_now()))
    consumer = _consumer(MemoryLog(topic, [0, 1]), store)
    _drain(consumer)
    registry = MeterRegistry(store)
    meter = registry.create(parse_definition({"slug": "m", "eventType": "t", "aggregation": "COUNT"}))
    filler = Filler(store, registry, FillBarrier(consumer.unresolved, consumer.claims))

    def ready() -> bool:
        filler.step()
        registry.refresh()
        return _state(registry, meter) is MeterState.READY

    wait_for(ready)

    assert consumer.unresolved() == []


def test_a_partition_that_is_held_while_the_plan_before_it_is_discarded_is_read_again(store: Store) -> None:
    topic = MemoryTopic()
    topic.append(0, _event(1), *[BAD] * 6, arrived_ms=milliseconds(utc_now()))
    log = MemoryLog(topic, [0])
    consumer = _consumer(log, store)
    plan = log.plan((_range(consumer._fetch(0)),), consumer._next_stamp_ms())
    assert plan is not None
    assert [run.offset for run in log.held()] == [1]

    log.discard(plan)
    assert log.held() == []
    consumer._drop_prefetched()
    _drain(consumer)

    assert (_counts(store), [run[:3] for run in log.held()]) == ((1, 0), [(0, 1, 1)])


def _range(batch: Batch) -> Range:
    [only] = ranges_of(batch.records)
    return only


def _drain(consumer: Consumer) -> None:
    while consumer.step(0):
        pass


def _state(registry: MeterRegistry, meter: Meter) -> MeterState:
    return next(one.state for one in registry.all() if one.slug == meter.slug)
