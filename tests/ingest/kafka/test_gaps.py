"""Records that a topic no longer has are reported by a dead letter, a log line and a metric. Nothing else is skipped.

Retention deletes records before an offset. The tests use one group protocol: gaps come from the partitions' leaders.
"""

import logging
from dataclasses import dataclass

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic  # mypy does not accept the import from `admin`

from engine import metrics
from engine.errors import LogUnavailable
from ingest.event_log import Plan, Range, Record, ranges_of
from ingest.kafka.log import KafkaLog
from ingest.kafka.planned_records import _PlanReader
from ingest.kafka.plans import to_metadata
from tests.harness.topics import Topic, lag, read, values, wait_for, wait_for_assignment
from tests.ingest.conftest import OpenLog


@pytest.fixture
def protocol() -> str:
    return "consumer"


@pytest.fixture(autouse=True)
def gaps_before() -> float:
    return _gaps()


def _gaps() -> float:
    return float(metrics.LOG_GAPS._value.get())


def _offsets(records: list[Record]) -> list[int]:
    return [record.offset for record in records]


def _ten() -> list[bytes]:
    return [b"%d" % number for number in range(10)]


def test_what_was_deleted_before_the_group_first_read_is_no_gap(
    open_log: OpenLog, topic: Topic, gaps_before: float
) -> None:
    topic.put(*_ten())
    topic.delete_before({0: 4})

    assert _offsets(read(open_log(), 6)) == [4, 5, 6, 7, 8, 9]
    assert _gaps() == gaps_before


def test_what_was_deleted_behind_a_commit_is_told(
    open_log: OpenLog, topic: Topic, gaps_before: float, caplog: pytest.LogCaptureFixture
) -> None:
    """N37: offsets out of range after a long stop give one gap and one dead letter. Reading continues after them."""
    topic.put(*_ten())
    topic.commit({0: (2, "")})
    topic.delete_before({0: 5})

    lost, *others = read(open_log(), 6)

    assert (lost.partition, lost.offset, lost.value) == (0, 4, None)
    assert lost.loss == "offsets 2 to 4 were deleted from the topic before they were read"
    assert _offsets(others) == [5, 6, 7, 8, 9]
    assert _gaps() == gaps_before + 1
    assert (f"log_gap topic={topic.name} partition=0: {lost.loss}", logging.ERROR) in [
        (record.getMessage(), record.levelno) for record in caplog.records
    ]


def test_a_gap_is_planned_and_acknowledged_as_any_record_is(
    open_log: OpenLog, topic: Topic, gaps_before: float
) -> None:
    topic.put(*_ten())
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
    assert _gaps() == gaps_before + 1


def test_what_is_deleted_while_the_log_runs_is_told_in_its_place(
    open_log: OpenLog, topic: Topic, gaps_before: float
) -> None:
    """N37: the same holds for offsets that are deleted while a process is paused."""
    topic.put(b"a", b"b")
    topic.put(b"other", partition=1)
    log = open_log()
    read(log, 3)
    wait_for(lambda: log._member._paused)  # nothing is fetched while the process does not read
    topic.put(*_ten()[2:])
    topic.delete_before({0: 6})

    records = read(log, 8)

    assert _offsets(records) == [0, 1, 5, 6, 7, 8, 9, 0]
    assert records[2].loss == "offsets 2 to 5 were deleted from the topic before they were read"
    assert [record.loss for record in records].count("") == 7
    assert _gaps() == gaps_before + 1
    assert log.plan(ranges_of(records), 5000) is not None


def test_what_is_deleted_under_a_plan_is_told_and_the_rest_is_read(open_log: OpenLog, topic: Topic) -> None:
    topic.put(*_ten())
    topic.put(*_ten(), partition=1)
    topic.put(*_ten(), partition=2)
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
    assert _offsets(behind) == [6, 7, 8, 9, 4, 5, 6, 7, 8, 9, 3, 4, 5, 6, 7, 8, 9]


def test_a_plan_of_which_everything_was_deleted_can_be_finished(open_log: OpenLog, topic: Topic) -> None:
    topic.put(*_ten())
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
    topic.put(*_ten())
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


def test_a_commit_beyond_the_end_is_told_and_read_from_the_beginning(
    open_log: OpenLog, topic: Topic, gaps_before: float, caplog: pytest.LogCaptureFixture
) -> None:
    topic.put(b"a", b"b")
    topic.commit({0: (7, ""), 1: (3, "")})
    log = open_log()

    records = read(log, 2)

    assert values(records) == [b"a", b"b"]
    assert _gaps() == gaps_before + 2
    reason = "offset 7 was reached, but the topic ends at 2: it was created again or cut off; it is read from 0"
    assert reason in caplog.text
    assert lag(log) == 2
    plan = log.plan(ranges_of(records), 5000)
    assert plan is not None
    log.acknowledge(plan)
    assert topic.committed() == {0: (2, ""), 1: (0, "")}
    topic.put(b"c", partition=1)
    assert values(read(log, 1)) == [b"c"]


@pytest.mark.parametrize("left", [2, 0], ids=["some records", "nothing"])
def test_what_a_topic_grows_by_after_its_beginning_was_told_is_read_by_the_next_process(
    open_log: OpenLog, topic: Topic, gaps_before: float, left: int
) -> None:
    topic.put(*_ten()[:left])
    topic.commit({0: (7, "")})
    log = open_log()
    read(log, left)
    wait_for(lambda: log.read(10, 1000, 0.1) is not None and _gaps() == gaps_before + 1)
    log.close()

    topic.put(*_ten()[left:])

    assert values(read(open_log(), 10)) == _ten()


def test_a_batch_that_was_under_way_when_a_partition_was_cut_off_leaves_its_beginning_to_be_read(
    open_log: OpenLog, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic.put(*_ten())
    topic.put(*_ten(), partition=1)
    log = open_log()
    first = log.plan(ranges_of(read(log, 20)), 5000)
    assert first is not None

    _cut_off(log, monkeypatch)
    assert topic.committed() == {0: (0, to_metadata(first)), 1: (0, to_metadata(first))}  # others may run it
    log.acknowledge(first)

    assert topic.committed() == {0: (0, ""), 1: (10, "")}
    assert _offsets(read(log, 10)) == list(range(10))


def test_a_plan_given_up_after_its_partition_was_cut_off_is_read_from_the_beginning(
    open_log: OpenLog, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic.put(*_ten())
    topic.commit({0: (4, "")})
    log = open_log()
    plan = log.plan(ranges_of(read(log, 6)), 5000)
    assert plan is not None

    _cut_off(log, monkeypatch)
    log.discard(plan)

    assert _offsets(read(log, 10)) == list(range(10))


def _cut_off(log: KafkaLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let partition 0 end at 2, as after the election of a leader that has no more records. Then new records come."""
    with monkeypatch.context() as patched:
        patched.setattr(log._member, "bounds", lambda _: (0, 2))
        log._assigned[0].out_of_range = True
        log.read(1000, 1 << 20, 0)


def test_a_topic_made_anew_while_nobody_reads_is_read_from_its_beginning(open_log: OpenLog, topic: Topic) -> None:
    topic.put(*_ten())
    log = open_log()
    plan = log.plan(ranges_of(read(log, 10)[:6]), 5000)
    assert plan is not None
    log.acknowledge(plan)
    log.close()

    _make_anew(topic, 3)
    topic.put(*[b"new"] * 8)

    assert _offsets(read(open_log(), 8)) == [0, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("records", [2, 20], ids=["shorter", "longer"])
def test_a_topic_made_anew_under_a_reader_is_read_from_its_beginning(
    open_log: OpenLog, topic: Topic, records: int
) -> None:
    topic.put(*_ten())
    log = open_log(topic_metadata_refresh_interval_ms="500")
    first = log.plan(ranges_of(read(log, 10)), 5000)
    assert first is not None
    log.acknowledge(first)

    _make_anew(topic, 3)
    topic.put(*[b"new"] * records)

    def all_read() -> bool:
        try:
            return len(log.read(100, 1 << 20, 0.1)) == records
        except LogUnavailable:
            return False

    wait_for(all_read)
    batch = read(log, records)
    assert _offsets(batch) == list(range(records))
    assert lag(log) == records
    plan = log.plan(ranges_of(batch), 6000)
    assert plan == Plan((Range(0, 0, records),), 6000)
    log.acknowledge(plan)
    assert topic.committed() == {0: (records, "")}


def test_what_is_held_of_a_partition_that_was_cut_off_is_let_go(
    open_log: OpenLog, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, the buffered records could not be reread, and stayed before the records from the beginning for ever."""
    topic.put(*_ten())
    log = open_log()
    read(log, 10)
    first = log.plan(ranges_of(log.read(3, 1 << 20, 5)), 5000)
    assert first == Plan((Range(0, 0, 3),), 5000)
    log.acknowledge(first)

    _cut_off(log, monkeypatch)
    batch = read(log, 10)

    assert _offsets(batch) == list(range(10))
    assert log.plan(ranges_of(batch), 6000) == Plan((Range(0, 0, 10),), 6000)


def test_plans_of_a_topic_that_is_not_there_are_not_known(open_log: OpenLog, topic: Topic) -> None:
    log = open_log()
    wait_for_assignment(log)
    admin = AdminClient({"bootstrap.servers": topic.bootstrap})
    admin.delete_topics([topic.name])[topic.name].result(10)

    def unknown() -> bool:
        try:
            return bool(log.planned())
        except LogUnavailable:
            return True

    wait_for(unknown)


def test_an_empty_topic_has_nothing_and_then_what_comes(open_log: OpenLog, topic: Topic) -> None:
    log = open_log()
    wait_for_assignment(log)

    wait_for(lambda: log.read(10, 1000, 0.1) == [] and log.waiting() == 0)
    assert (lag(log), log.planned()) == (0, [])

    topic.put(b"a")
    assert values(read(log, 1)) == [b"a"]


def _make_anew(topic: Topic, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": topic.bootstrap})

    def count() -> int:
        found = admin.list_topics(timeout=10).topics.get(topic.name)
        return len(found.partitions) if found else 0

    admin.delete_topics([topic.name])[topic.name].result(10)
    wait_for(lambda: count() == 0)
    admin.create_topics([NewTopic(topic.name, partitions, 1)])[topic.name].result(10)
    wait_for(lambda: count() == partitions)


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

    assert _offsets(records) == list(range(10))
