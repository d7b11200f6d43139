"""The contract of an event log, on every implementation of it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.errors import LogFull
from ingest.log import Plan, Range, ranges_of
from ingest.sqlite_log import SqliteLog

OpenLog = Callable[[], SqliteLog]


@pytest.fixture
def open_log(tmp_path: Path) -> Iterator[OpenLog]:
    """Open the same log again, as a process that starts after another died: nothing is closed in between."""
    opened: list[SqliteLog] = []

    def open_() -> SqliteLog:
        opened.append(SqliteLog(tmp_path / "log.sqlite", max_bytes=1000))
        return opened[-1]

    yield open_
    for log in opened:
        log.close()


def test_reads_what_was_appended_in_order(open_log: OpenLog) -> None:
    log = open_log()
    log.append([b"a", b"b"], 1000).result()
    log.append([b"c"], 2000).result()

    records = log.read(10, 1000, 0)

    assert [record.value for record in records] == [b"a", b"b", b"c"]
    assert [record.arrived_ms for record in records] == [1000, 1000, 2000]
    assert [record.offset for record in records] == [1, 2, 3]


def test_reading_commits_nothing(open_log: OpenLog) -> None:
    log = open_log()
    log.append([b"a"], 0).result()

    assert log.read(10, 1000, 0) == log.read(10, 1000, 0)


def test_a_read_is_bounded_in_records_and_bytes_but_never_empty(open_log: OpenLog) -> None:
    log = open_log()
    log.append([b"x" * 100, b"y" * 100, b"z" * 100], 0).result()

    assert len(log.read(2, 1000, 0)) == 2
    assert len(log.read(10, 250, 0)) == 2
    assert len(log.read(10, 1, 0)) == 1


def test_appended_events_are_there_for_the_next_process(open_log: OpenLog) -> None:
    open_log().append([b"a"], 0).result()

    assert [record.value for record in open_log().read(10, 1000, 0)] == [b"a"]


def test_a_plan_is_pending_until_acknowledged_also_for_the_next_process(open_log: OpenLog) -> None:
    log = open_log()
    log.append([b"a", b"b", b"c"], 0).result()
    plan = log.plan((Range(log.partition, 1, 3),), 5000)

    restarted = open_log()

    assert restarted.pending() == [plan] == [Plan((Range(log.partition, 1, 3),), 5000)]
    assert [record.value for record in restarted.reread(plan)] == [b"a", b"b"]
    assert [record.value for record in restarted.read(10, 1000, 0)] == [b"c"]


def test_an_acknowledged_plan_is_forgotten_and_its_records_are_gone(open_log: OpenLog) -> None:
    log = open_log()
    log.append([b"a", b"b"], 0).result()
    log.acknowledge(log.plan((Range(log.partition, 1, 2),), 5000))

    restarted = open_log()

    assert restarted.pending() == []
    assert [record.value for record in restarted.read(10, 1000, 0)] == [b"b"]
    assert restarted.lag().records == 1


def test_the_next_plan_acknowledges_the_one_before(open_log: OpenLog) -> None:
    log = open_log()
    log.append([b"a", b"b"], 0).result()
    log.plan((Range(log.partition, 1, 2),), 5000)
    second = log.plan((Range(log.partition, 2, 3),), 6000)

    restarted = open_log()

    assert restarted.pending() == [second]
    assert [record.value for record in restarted.reread(second)] == [b"b"]
    assert log.lag().records == restarted.lag().records == 1


def test_offsets_never_come_again_after_everything_was_acknowledged(open_log: OpenLog) -> None:
    log = open_log()
    log.append([b"a"], 0).result()
    log.acknowledge(log.plan((Range(log.partition, 1, 2),), 5000))

    restarted = open_log()
    restarted.append([b"b"], 0).result()

    assert [record.offset for record in restarted.read(10, 1000, 0)] == [2]


def test_a_full_log_refuses_and_takes_again_once_drained(open_log: OpenLog) -> None:
    log = open_log()
    log.append([b"x" * 900], 0).result()

    with pytest.raises(LogFull):
        log.append([b"y" * 101], 0)

    log.acknowledge(log.plan((Range(log.partition, 1, 2),), 5000))
    log.append([b"y" * 101], 0).result()
    assert log.lag().bytes == 101


def test_nothing_is_stamped_before_an_instant_once_it_is_settled(open_log: OpenLog) -> None:
    log = open_log()
    log.append([b"a", b"b"], 0).result()
    first = log.plan((Range(log.partition, 1, 2),), 5000)

    assert not log.settled_before(6000)
    log.acknowledge(first)
    assert log.settled_before(6000)
    assert log.plan((Range(log.partition, 2, 3),), 5500).stored_ms == 6000


def test_the_token_tells_ranges_apart_and_nothing_else() -> None:
    one = Plan((Range(0, 1, 3), Range(1, 5, 9)), 1000)

    assert one.token == Plan((Range(1, 5, 9), Range(0, 1, 3)), 2000).token
    assert one.token != Plan((Range(0, 1, 4), Range(1, 5, 9)), 1000).token
    assert len({Plan((Range(0, 1, 23),), 0).token, Plan((Range(0, 12, 3),), 0).token}) == 2


def test_ranges_cover_the_records_of_each_partition(open_log: OpenLog) -> None:
    log = open_log()
    log.append([b"a", b"b", b"c"], 0).result()

    assert ranges_of(log.read(10, 1000, 0)) == (Range(log.partition, 1, 4),)
