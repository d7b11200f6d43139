"""The contract of an event log, tested on all implementations: a SQLite file, and a topic on a real broker."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from ingest.event_log import EventLog, Plan, Range, ranges_of
from ingest.kafka.log import KafkaLog
from ingest.sqlite.log import SqliteLog
from tests.harness.broker import Kafka
from tests.harness.topics import Topic, assigned_partitions, lag, read, require_real_broker, values, wait_for


class Opened(EventLog, Protocol):
    """A log of Meterport that can be closed."""

    def close(self) -> None: ...


@dataclass
class Place:
    """The storage of a log. `put` acts as a producer; `open` as a process that starts after the previous one died."""

    put: Callable[..., None]
    open: Callable[[], Opened]


@pytest.fixture(params=["sqlite", "kafka"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    opened: list[Opened] = []
    if request.param == "sqlite":
        yield _file(tmp_path / "log.sqlite", opened)
    else:
        yield _topic(require_real_broker(request.getfixturevalue("broker")), opened)
    for log in opened:
        log.close()


def _file(path: Path, opened: list[Opened]) -> Place:
    """Return a SQLite file. A process that died has not closed it."""
    processes: list[SqliteLog] = []

    def open_() -> SqliteLog:
        processes.append(log := SqliteLog(path, max_bytes=1000))
        opened.append(log)
        return log

    def put(*events: bytes, at_ms: int = 1) -> None:
        (processes[-1] if processes else open_()).append(events, at_ms).result()

    return Place(put, open_)


def _topic(broker: Kafka, opened: list[Opened]) -> Place:
    """Return a topic with one partition, so that processes do not share its partitions."""
    topic = Topic(broker.bootstrap, 1)
    broker.create_topic(topic.name, 1)

    def open_() -> KafkaLog:
        while opened:
            opened.pop().close()
        opened.append(log := KafkaLog(topic.settings()))
        wait_for(lambda: assigned_partitions(log) == [0])
        return log

    return Place(topic.put, open_)


def test_reads_what_was_appended_in_order(place: Place) -> None:
    place.put(b"a", b"", at_ms=1000)
    place.put(b"c", at_ms=2000)

    records = read(place.open(), 3)

    assert values(records) == [b"a", b"", b"c"]
    assert [record.arrived_ms for record in records] == [1000, 1000, 2000]
    assert [record.offset - records[0].offset for record in records] == [0, 1, 2]
    assert {(record.partition, record.loss) for record in records} == {(records[0].partition, "")}


def test_an_empty_log_is_waited_for(place: Place) -> None:
    log = place.open()
    log.pending()

    began = time.monotonic()
    assert log.read(10, 1000, 0.3) == []

    assert time.monotonic() - began > 0.25
    assert log.pending() == log.planned() == []
    assert lag(log) == 0


def test_reading_commits_nothing(place: Place) -> None:
    place.put(b"a", b"b")
    log = place.open()

    once, again = read(log, 2), read(log, 2)
    following = place.open()

    assert once == again == read(following, 2)
    assert following.planned() == []


def test_a_read_is_bounded_in_records_and_bytes_but_never_empty(place: Place) -> None:
    place.put(b"x" * 100, b"y" * 100, b"z" * 100)
    log = place.open()
    read(log, 3)

    assert len(log.read(2, 1000, 0)) == 2
    assert len(log.read(10, 250, 0)) == 2
    assert len(log.read(10, 200, 0)) == 2
    assert len(log.read(10, 1, 0)) == 1


def test_a_planned_batch_outlives_the_process_and_is_read_again_exactly(place: Place) -> None:
    place.put(b"a", b"b", b"c")
    log = place.open()
    records = read(log, 3)
    plan = log.plan(ranges_of(records[:2]), 5000)

    following = place.open()

    assert plan is not None
    assert following.pending() == following.planned() == [plan]
    assert plan.stored_ms == 5000
    assert following.reread(plan) == following.reread(plan) == records[:2]
    assert values(read(following, 1)) == [b"c"]
    assert following.is_current(plan)


def test_reading_goes_on_behind_a_plan(place: Place) -> None:
    place.put(b"a", b"b", b"c")
    log = place.open()
    log.plan(ranges_of(read(log, 3)[:2]), 5000)

    assert values(read(log, 1)) == [b"c"]


def test_a_plan_that_another_process_finishes_is_done(place: Place) -> None:
    place.put(b"a", b"b")
    log = place.open()
    log.plan(ranges_of(read(log, 2)), 5000)
    following = place.open()

    following.acknowledge(following.pending()[0])

    assert following.pending() == following.planned() == []
    assert lag(following) == 0
    assert place.open().pending() == []


def test_an_acknowledged_plan_is_forgotten_and_its_records_are_not_read_again(place: Place) -> None:
    place.put(b"a", b"b")
    log = place.open()
    log.acknowledge(_planned(log, 1))

    following = place.open()

    assert following.pending() == following.planned() == []
    assert values(read(following, 1)) == [b"b"]
    assert lag(following) == 1


def test_the_next_plan_acknowledges_the_one_before(place: Place) -> None:
    place.put(b"a", b"b")
    log = place.open()
    _planned(log, 1)
    second = log.plan(ranges_of(read(log, 1)), 6000)

    following = place.open()

    assert second is not None
    assert following.pending() == [second]
    assert values(following.reread(second)) == [b"b"]
    assert following.planned() == [second]


def test_records_wait_until_they_are_planned_and_lag_until_they_are_acknowledged(place: Place) -> None:
    place.put(b"a", b"b")
    log = place.open()
    records = read(log, 2)
    assert log.waiting() >= 2
    assert lag(log) == 2

    plan = log.plan(ranges_of(records), 5000)
    assert plan is not None
    wait_for(lambda: log.read(10, 1000, 0.1) == [] and log.waiting() == 0)
    assert lag(log) == 2

    log.acknowledge(plan)
    assert (log.waiting(), lag(log)) == (0, 0)


def test_offsets_never_come_again_after_everything_was_acknowledged(place: Place) -> None:
    place.put(b"a")
    log = place.open()
    plan = _planned(log, 1)
    log.acknowledge(plan)

    following = place.open()
    place.put(b"b")

    assert [record.offset for record in read(following, 1)] == [plan.ranges[0].end]


def test_a_discarded_plan_is_nobodys_and_its_records_are_read_again(place: Place) -> None:
    place.put(b"a", b"b")
    log = place.open()
    plan = _planned(log, 1)

    log.discard(plan)

    assert values(read(log, 2)) == [b"a", b"b"]
    assert log.pending() == []
    anew = log.plan(ranges_of(read(log, 2)), 6000)
    assert log.planned() == place.open().pending() == [anew]


def test_a_pending_plan_that_is_discarded_is_planned_anew(place: Place) -> None:
    place.put(b"a", b"b")
    _planned(place.open(), 1)
    log = place.open()

    log.discard(log.pending()[0])

    assert log.pending() == []
    assert values(read(log, 2)) == [b"a", b"b"]


def test_a_plan_of_this_process_is_planned_but_not_pending(place: Place) -> None:
    place.put(b"a")
    log = place.open()

    plan = _planned(log, 1)

    assert (log.planned(), log.pending()) == ([plan], [])
    assert log.is_current(plan)
    assert place.open().pending() == [plan]


def test_the_one_process_of_a_log_leads(place: Place) -> None:
    log = place.open()
    log.pending()

    wait_for(log.is_leader)


def test_ranges_cover_the_records_of_each_partition(place: Place) -> None:
    place.put(b"a", b"b", b"c")

    records = read(place.open(), 3)

    partition, first = records[0].partition, records[0].offset
    assert ranges_of(records) == (Range(partition, first, first + 3),)


def _planned(log: EventLog, count: int) -> Plan:
    """Return a plan of the first `count` records, with the stamp 5000."""
    wait_for(lambda: bool(log.read(count, 1000, 0.1)))
    plan = log.plan(ranges_of(log.read(count, 1000, 0.1)), 5000)
    assert plan is not None
    return plan


# without a log


def test_the_token_tells_ranges_and_stamps_apart() -> None:
    one = Plan((Range(0, 1, 3), Range(1, 5, 9)), 1000)

    assert one.token == Plan((Range(1, 5, 9), Range(0, 1, 3)), 1000).token
    assert one.token != Plan((Range(0, 1, 4), Range(1, 5, 9)), 1000).token
    assert one.token != Plan((Range(0, 1, 3), Range(1, 5, 9)), 1001).token
    assert len({Plan((Range(0, 1, 23),), 0).token, Plan((Range(0, 12, 3),), 0).token}) == 2
