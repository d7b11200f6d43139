"""Records that a topic no longer has are reported by a dead letter, a log line and a metric. Nothing else is skipped.

Retention deletes records before an offset. The tests use one group protocol: gaps come from the partitions' leaders.
"""

import logging
from dataclasses import dataclass

import pytest
from confluent_kafka import KafkaError

from ingest.event_log import SEE_GAPS, Plan, Range, Record, ranges_of
from ingest.kafka.planned_records import _PlanReader
from ingest.kafka.plans import to_metadata
from tests.harness.topics import Topic, lag, read, values, wait_for, wait_for_assignment
from tests.ingest.conftest import OpenLog
from tests.ingest.gaps import gaps, gaps_before, protocol
from tests.ingest.kafka.filled_topics import offsets, ten

__all__ = ["gaps_before", "protocol"]  # fixtures of another file


def test_what_was_deleted_before_the_group_first_read_is_no_gap(
    open_log: OpenLog, topic: Topic, gaps_before: float
) -> None:
    topic.put(*ten())
    topic.delete_before({0: 4})

    assert offsets(read(open_log(), 6)) == [4, 5, 6, 7, 8, 9]
    assert gaps() == gaps_before


def test_what_was_deleted_behind_a_commit_is_told(
    open_log: OpenLog, topic: Topic, gaps_before: float, caplog: pytest.LogCaptureFixture
) -> None:
    """N37: offsets out of range after a long stop give one gap and one dead letter. Reading continues after them."""
    topic.put(*ten())
    topic.commit({0: (2, "")})
    topic.delete_before({0: 5})

    lost, *others = read(open_log(), 6)

    assert (lost.partition, lost.offset, lost.value) == (0, 4, None)
    assert lost.loss == "offsets 2 to 4 were deleted from the topic before they were read"
    assert offsets(others) == [5, 6, 7, 8, 9]
    assert gaps() == gaps_before + 1
    assert (f"log_gap topic={topic.name} partition=0: {lost.loss} {SEE_GAPS}", logging.ERROR) in [
        (record.getMessage(), record.levelno) for record in caplog.records
    ]


def test_a_gap_is_planned_and_acknowledged_as_any_record_is(
    open_log: OpenLog, topic: Topic, gaps_before: float
) -> None:
    topic.put(*ten())
    topic.commit({0: (2, "")})
    topic.delete_before({0: 10})
    log = open_log()

    [lost] = read(log, 1)
    plan = log.plan(ranges_of([lost]), 5000)

    assert plan == Plan((Range(0, 2, 10),), 5000)
    [again] = log.reread(plan)  # as the process that takes over the plan reports it
    assert (again.partition, again.offset, again.value) == (0, 2, None)
    assert again.loss == "offsets 2 to 9 were deleted from the topic while a plan held them"
    log.acknowledge(plan)
    assert log.read(10, 1000, 0.5) == []
    assert lag(log) == 0
    assert topic.committed() == {0: (10, "")}
    assert gaps() == gaps_before + 1


def test_what_is_deleted_while_the_log_runs_is_told_in_its_place(
    open_log: OpenLog, topic: Topic, gaps_before: float
) -> None:
    """N37: the same holds for offsets that are deleted while a process is paused."""
    topic.put(b"a", b"b")
    topic.put(b"other", partition=1)
    log = open_log()
    read(log, 3)
    wait_for(lambda: log._member._paused)  # nothing is fetched while the process does not read
    topic.put(*ten()[2:])
    topic.delete_before({0: 6})

    records = read(log, 8)

    assert offsets(records) == [0, 1, 5, 6, 7, 8, 9, 0]
    assert records[2].loss == "offsets 2 to 5 were deleted from the topic before they were read"
    assert [record.loss for record in records].count("") == 7
    assert gaps() == gaps_before + 1
    assert log.plan(ranges_of(records), 5000) is not None


def test_what_is_deleted_under_a_plan_is_told_and_the_rest_is_read(open_log: OpenLog, topic: Topic) -> None:
    topic.put(*ten())
    topic.put(*ten(), partition=1)
    topic.put(*ten(), partition=2)
    plan = Plan((Range(0, 2, 6), Range(1, 0, 3), Range(2, 0, 3)), 5000)
    topic.commit({0: (2, to_metadata(plan)), 1: (0, to_metadata(plan)), 2: (0, to_metadata(plan))})
    topic.delete_before({0: 4, 1: 5})
    log = open_log()
    wait_for_assignment(log)

    assert log.pending() == [plan]
    told = "offsets {} were deleted from the topic while a plan held them"
    assert log.reread(plan) == [
        Record(0, 2, 5000, None, None, told.format("2 to 3")),
        Record(0, 4, 1, b"4"),
        Record(0, 5, 1, b"5"),
        Record(1, 0, 5000, None, None, told.format("0 to 2")),
        Record(2, 0, 1, b"0"),
        Record(2, 1, 1, b"1"),
        Record(2, 2, 1, b"2"),
    ]
    behind = read(log, 4 + 1 + 5 + 7)
    assert [(record.partition, record.offset) for record in behind if record.loss] == [(1, 4)]
    assert offsets(behind) == [6, 7, 8, 9, 4, 5, 6, 7, 8, 9, 3, 4, 5, 6, 7, 8, 9]


def test_a_plan_of_which_everything_was_deleted_can_be_finished(open_log: OpenLog, topic: Topic) -> None:
    topic.put(*ten())
    plan = Plan((Range(0, 2, 10),), 5000)
    topic.commit({0: (2, to_metadata(plan))})
    topic.delete_before({0: 10})
    log = open_log()
    wait_for_assignment(log)

    [lost] = log.reread(plan)
    assert lost.loss == "offsets 2 to 9 were deleted from the topic while a plan held them"
    log.acknowledge(plan)
    assert log.pending() == log.planned() == []


def test_a_plan_beyond_the_end_of_its_partition_can_be_finished(open_log: OpenLog, topic: Topic) -> None:
    """A leader without all records was elected, or the topic was created again and the old commits stayed."""
    topic.put(*ten())
    plan = Plan((Range(0, 8, 14), Range(1, 3, 5)), 5000)
    topic.commit({0: (8, to_metadata(plan)), 1: (3, to_metadata(plan))})
    log = open_log()
    wait_for_assignment(log)

    assert log.pending() == [plan]
    eight, nine, lost, all_lost = log.reread(plan)
    assert values([eight, nine]) == [b"8", b"9"]
    gone = "offsets {} are no longer in the topic while a plan held them"
    assert [lost, all_lost] == [
        Record(0, 10, 5000, None, None, gone.format("10 to 13")),
        Record(1, 3, 5000, None, None, gone.format("3 to 4")),
    ]
    log.acknowledge(plan)
    assert log.pending() == []


@dataclass
class _Message:
    """A message as from librdkafka."""

    at: int
    failed: KafkaError | None = None

    def error(self) -> KafkaError | None:
        return self.failed

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.at

    def timestamp(self) -> tuple[int, int]:
        return 1, 5000

    def value(self) -> bytes:
        return b"{}"

    def headers(self) -> None:
        return None


class _Behind:
    """A consumer whose broker lacks the end of a partition: it reports that the end is reached, then the rest comes."""

    def __init__(self, messages: list[list[_Message]]) -> None:
        self._messages = messages

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        return 0, 10

    def assign(self, _: object) -> None:
        pass

    def consume(self, *_: object) -> list[_Message]:
        return self._messages.pop(0)


def test_the_end_of_a_broker_that_is_behind_is_not_the_end_of_a_range() -> None:
    eof = KafkaError(KafkaError._PARTITION_EOF)
    first, rest = [_Message(at) for at in range(4)], [_Message(at) for at in range(4, 10)]
    behind = _Behind([[*first, _Message(4, eof)], rest])

    records = _PlanReader("topic", behind, Plan((Range(0, 0, 10),), 5000)).records()  # type: ignore[arg-type]

    assert offsets(records) == list(range(10))
