"""A topic that was cut off or made anew is read from its beginning, and this is reported. A missing one is waited for.

The tests use one group protocol.
"""

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic  # mypy does not accept the import from `admin`

from engine.errors import LogUnavailable
from ingest.event_log import Plan, Range, ranges_of
from ingest.kafka.log import KafkaLog
from ingest.kafka.plans import to_metadata
from tests.harness.topics import Topic, lag, read, values, wait_for, wait_for_assignment
from tests.ingest.conftest import OpenLog
from tests.ingest.gaps import gaps, gaps_before, protocol
from tests.ingest.kafka.filled_topics import offsets, ten

__all__ = ["gaps_before", "protocol"]  # fixtures of another file


def test_a_commit_beyond_the_end_is_told_and_read_from_the_beginning(
    open_log: OpenLog, topic: Topic, gaps_before: float, caplog: pytest.LogCaptureFixture
) -> None:
    topic.put(b"a", b"b")
    topic.commit({0: (7, ""), 1: (3, "")})
    log = open_log()

    records = read(log, 2)

    assert values(records) == [b"a", b"b"]
    assert gaps() == gaps_before + 2
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
    topic.put(*ten()[:left])
    topic.commit({0: (7, "")})
    log = open_log()
    read(log, left)
    wait_for(lambda: log.read(10, 1000, 0.1) is not None and gaps() == gaps_before + 1)
    log.close()

    topic.put(*ten()[left:])

    assert values(read(open_log(), 10)) == ten()


# a partition that is cut off


def _cut_off(log: KafkaLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let partition 0 end at 2, as after the election of a leader that has no more records. Then new records come."""
    with monkeypatch.context() as patched:
        patched.setattr(log._member, "bounds", lambda _: (0, 2))
        log._assigned[0].out_of_range = True
        log.read(1000, 1 << 20, 0)


def test_a_batch_that_was_under_way_when_a_partition_was_cut_off_leaves_its_beginning_to_be_read(
    open_log: OpenLog, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic.put(*ten())
    topic.put(*ten(), partition=1)
    log = open_log()
    first = log.plan(ranges_of(read(log, 20)), 5000)
    assert first is not None

    _cut_off(log, monkeypatch)
    assert topic.committed() == {0: (0, to_metadata(first)), 1: (0, to_metadata(first))}  # others may run it
    log.acknowledge(first)

    assert topic.committed() == {0: (0, ""), 1: (10, "")}
    assert offsets(read(log, 10)) == list(range(10))


def test_a_plan_given_up_after_its_partition_was_cut_off_is_read_from_the_beginning(
    open_log: OpenLog, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic.put(*ten())
    topic.commit({0: (4, "")})
    log = open_log()
    plan = log.plan(ranges_of(read(log, 6)), 5000)
    assert plan is not None

    _cut_off(log, monkeypatch)
    log.discard(plan)

    assert offsets(read(log, 10)) == list(range(10))


def test_what_is_held_of_a_partition_that_was_cut_off_is_let_go(
    open_log: OpenLog, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, the buffered records could not be reread, and stayed before the records from the beginning for ever."""
    topic.put(*ten())
    log = open_log()
    read(log, 10)
    first = log.plan(ranges_of(log.read(3, 1 << 20, 5)), 5000)
    assert first == Plan((Range(0, 0, 3),), 5000)
    log.acknowledge(first)

    _cut_off(log, monkeypatch)
    batch = read(log, 10)

    assert offsets(batch) == list(range(10))
    assert log.plan(ranges_of(batch), 6000) == Plan((Range(0, 0, 10),), 6000)


# a topic that is made anew, or missing


def _make_anew(topic: Topic, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": topic.bootstrap})

    def count() -> int:
        found = admin.list_topics(timeout=10).topics.get(topic.name)
        return len(found.partitions) if found else 0

    admin.delete_topics([topic.name])[topic.name].result(10)
    wait_for(lambda: count() == 0)
    admin.create_topics([NewTopic(topic.name, partitions, 1)])[topic.name].result(10)
    wait_for(lambda: count() == partitions)


def test_a_topic_made_anew_while_nobody_reads_is_read_from_its_beginning(open_log: OpenLog, topic: Topic) -> None:
    topic.put(*ten())
    log = open_log()
    plan = log.plan(ranges_of(read(log, 10)[:6]), 5000)
    assert plan is not None
    log.acknowledge(plan)
    log.close()

    _make_anew(topic, 3)
    topic.put(*[b"new"] * 8)

    assert offsets(read(open_log(), 8)) == [0, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("records", [2, 20], ids=["shorter", "longer"])
def test_a_topic_made_anew_under_a_reader_is_read_from_its_beginning(
    open_log: OpenLog, topic: Topic, records: int
) -> None:
    topic.put(*ten())
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
    assert offsets(batch) == list(range(records))
    assert lag(log) == records
    plan = log.plan(ranges_of(batch), 6000)
    assert plan == Plan((Range(0, 0, records),), 6000)
    log.acknowledge(plan)
    assert topic.committed() == {0: (records, "")}


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
