"""The log of one process: its plans, what it acknowledges, its lag, and how it ends.

A group needs about a second to assign its partitions. The long form has both group protocols.
"""

import math
import time

import pytest

from engine.errors import LogFailed, LogUnavailable
from ingest.event_log import Plan, Range, ranges_of
from ingest.kafka.plans import to_metadata
from tests.harness.topics import Topic, lag, read, values, wait_for, wait_for_assignment
from tests.ingest.conftest import OpenLog
from tests.ingest.kafka.filled_topics import put_two_each

# plans


def test_a_plan_that_was_planned_anew_on_a_neighbour_is_not_run(open_log: OpenLog, topic: Topic) -> None:
    put_two_each(topic)
    void = to_metadata(Plan((Range(0, 0, 2), Range(1, 0, 2)), 5000))
    anew = Plan((Range(1, 0, 1),), 6000)
    topic.commit({0: (0, void), 1: (0, to_metadata(anew))})
    log = open_log()
    wait_for_assignment(log)

    assert log.pending() == log.planned() == [anew]
    assert values(read(log, 5)) == [b"0-a", b"0-b", b"1-b", b"2-a", b"2-b"]


@pytest.mark.parametrize(
    "metadata",
    ["", "somebody else's", "v1;5000;0:1+1", "v1;5000;1:0+2", "v1;5000;0:0+1,7:0+1"],
    ids=["none", "foreign", "of-another-offset", "of-another-partition", "of-a-partition-there-is-not"],
)
def test_a_commit_without_a_plan_of_ours_is_where_reading_begins(
    open_log: OpenLog, topic: Topic, metadata: str
) -> None:
    topic.put(b"a", b"b")
    topic.commit({0: (0, metadata)})
    log = open_log()
    wait_for_assignment(log)

    assert log.pending() == log.planned() == []
    assert values(read(log, 2)) == [b"a", b"b"]


def test_a_plan_acknowledges_the_one_before_on_every_partition_of_it(open_log: OpenLog, topic: Topic) -> None:
    put_two_each(topic)
    log = open_log()
    records = read(log, 6)
    log.plan(ranges_of([record for record in records if record.partition < 2]), 5000)

    second = log.plan(ranges_of([record for record in records if record.partition == 2]), 6000)

    assert second is not None
    assert topic.committed() == {0: (2, ""), 1: (2, ""), 2: (0, to_metadata(second))}
    assert log.planned() == [second]


def test_a_new_plan_leaves_a_pending_one_as_it_is(open_log: OpenLog, topic: Topic) -> None:
    put_two_each(topic)
    pending = Plan((Range(0, 0, 1),), 5000)
    topic.commit({0: (0, to_metadata(pending))})
    log = open_log()
    records = read(log, 5)

    assert log.plan(ranges_of(records), 6000) is None  # it would follow a plan that may be discarded
    plan = log.plan(ranges_of([record for record in records if record.partition == 1]), 6000)

    assert plan is not None
    assert topic.committed() == {0: (0, to_metadata(pending)), 1: (0, to_metadata(plan))}


# acknowledgements and the lag


def test_the_lag_is_not_known_before_partitions_are(open_log: OpenLog, topic: Topic) -> None:
    """A program that waits until everything is stored must not believe that a process that has just started is done."""
    topic.put(*[b"{}"] * 7)
    log = open_log()
    assert math.isnan(log.lag().records)

    assert lag(log) == 7


def test_what_comes_while_nobody_reads_is_counted(open_log: OpenLog, topic: Topic) -> None:
    """For example, the store does not answer and a batch waits for it: the lag must grow."""
    topic.put(b"a", b"b")
    log = open_log()
    plan = log.plan(ranges_of(read(log, 2)), 5000)
    assert plan is not None
    wait_for(lambda: log._member._paused)

    topic.put(b"c", b"d", b"e")
    topic.put(b"f", partition=1)

    wait_for(lambda: log.lag().records == 6)
    log.acknowledge(plan)
    assert log.lag().records == 4
    log.read(1, 1, 0)  # nothing has been fetched yet
    assert log.lag().records == 4
    assert values(read(log, 4)) == [b"c", b"d", b"e", b"f"]
    assert lag(log) == 4


@pytest.mark.parametrize("ending", ["commit", "abort"])
def test_the_end_of_a_transaction_is_acknowledged_with_its_records(
    open_log: OpenLog, topic: Topic, ending: str
) -> None:
    """Only its marker may follow for weeks. When retention has deleted the marker, it would be reported as a gap."""
    topic.put_in_transaction((b"a", b"b"), "commit")
    if ending == "abort":
        topic.put_in_transaction((b"x",), "abort")
    end = 3 if ending == "commit" else 5
    log = open_log()
    plan = log.plan(ranges_of(read(log, 2)), 5000)
    assert plan is not None
    wait_for(lambda: log.read(10, 1000, 0.1) == [] and log.waiting() == 0)
    log.acknowledge(plan)
    assert topic.committed() == {0: (end, "")}
    log.close()
    topic.delete_before({0: end})
    topic.put(b"c")

    log = open_log()
    assert values(read(log, 1)) == [b"c"]
    assert lag(log) == 1


def test_what_is_read_and_not_planned_is_not_acknowledged_with_the_batch_before_it(
    open_log: OpenLog, topic: Topic
) -> None:
    topic.put(b"a", b"b", b"c")
    log = open_log()
    plan = log.plan(ranges_of(read(log, 3)[:1]), 5000)
    assert plan is not None
    wait_for(lambda: len(log.read(10, 1000, 0.1)) == 2 and log.waiting() == 2)

    log.acknowledge(plan)

    assert topic.committed() == {0: (1, "")}


# the end of a log


@pytest.mark.parametrize("wait_seconds", [0, 0.02, 0.05, 0.1, 0.15, 0.2])
def test_a_log_is_closed_while_it_is_given_partitions(open_log: OpenLog, wait_seconds: float) -> None:
    log = open_log()
    time.sleep(wait_seconds)

    log.close()

    with pytest.raises(LogUnavailable, match="the log is closed"):
        log.read(10, 1000, 1)


def test_a_closed_log_says_so(open_log: OpenLog, topic: Topic) -> None:
    topic.put(b"a")
    log = open_log()
    [record] = read(log, 1)
    assert lag(log) == 1
    log.close()
    log.close()

    with pytest.raises(LogUnavailable, match="the log is closed"):
        log.read(10, 1000, 1)
    with pytest.raises(LogUnavailable, match="the log is closed"):
        log.plan(ranges_of([record]), 5000)
    assert log.lag().records == 1


def test_partitions_that_cannot_be_taken_over_end_the_log(open_log: OpenLog) -> None:
    """This holds for any reason: otherwise librdkafka would consume them, but the log would not."""
    log = open_log()

    def broken(*_: object) -> dict[int, int]:
        raise KeyError(7)

    log._member._on_assigned = broken

    with pytest.raises(LogFailed, match="assigning or revoking partitions failed: 7"):
        wait_for(lambda: log.read(10, 1000, 0.1) != [])
    with pytest.raises(LogFailed):
        log.planned()
