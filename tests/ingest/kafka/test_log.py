"""A topic shared by several processes: plans move with their partitions, and no process moves another's offsets.

Each log represents a process. A group needs about a second to assign its partitions. Both group protocols are tested.
"""

import math
import subprocess
import sys
import threading
import time

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions  # mypy does not accept the import from `admin`

from engine.errors import LogFailed, LogUnavailable
from ingest.event_log import Plan, Range, Record, ranges_of
from ingest.kafka.assigned_partition import AssignedPartition
from ingest.kafka.client import FETCH_BYTES, QUEUE_BYTES
from ingest.kafka.log import KafkaLog
from ingest.kafka.plans import PLAN_PARTITIONS, to_metadata
from tests.harness.broker import Kafka
from tests.harness.topics import (
    Topic,
    assigned_partitions,
    lag,
    read,
    require_real_broker,
    retry_until_answered,
    values,
    wait_for,
    wait_for_assignment,
)
from tests.ingest.conftest import OpenLog


def _put_two_each(topic: Topic) -> None:
    for partition in range(topic.partitions):
        topic.put(b"%d-a" % partition, b"%d-b" % partition, partition=partition)


def _at(commits: dict[int, tuple[int, str]], partitions: list[int]) -> list[tuple[int, str]]:
    return [commits[partition] for partition in partitions]


def test_each_record_is_read_by_one_of_those_who_share(open_log: OpenLog, topic: Topic) -> None:
    one, other = open_log(), open_log()
    shares = wait_for_assignment(one, other)

    _put_two_each(topic)

    for log, share in ((one, shares[0]), (other, shares[1])):
        assert values(read(log, 2 * len(share))) == [b"%d-%c" % (at, end) for at in share for end in b"ab"]


def test_only_the_owner_of_the_first_partition_leads(open_log: OpenLog) -> None:
    one, other = open_log(), open_log()

    shares = wait_for_assignment(one, other)

    assert [one.is_leader(), other.is_leader()] == [0 in share for share in shares]


def test_each_new_owner_of_partitions_that_part_ways_finds_the_plan_and_reads_all_of_it(
    open_log: OpenLog, topic: Topic
) -> None:
    _put_two_each(topic)
    giver = open_log()
    records = read(giver, 6)
    plan = giver.plan(ranges_of(records), 5000)
    assert plan == Plan((Range(0, 0, 2), Range(1, 0, 2), Range(2, 0, 2)), 5000)

    takers = [open_log(), open_log()]
    wait_for_assignment(giver, *takers)

    assert [taker.pending() for taker in takers] == [[plan], [plan]]
    for log in (giver, *takers):
        assert log.reread(plan) == log.reread(plan) == records
        assert log.is_current(plan)
        assert log.planned() == [plan]
    assert topic.committed() == dict.fromkeys(range(3), (0, "v1;5000;0:0+2,1:0+2,2:0+2"))


def test_an_acknowledgement_moves_the_partitions_of_its_process_alone(open_log: OpenLog, topic: Topic) -> None:
    _put_two_each(topic)
    giver = open_log()
    plan = giver.plan(ranges_of(read(giver, 6)), 5000)
    assert plan is not None
    planned, stored = (0, to_metadata(plan)), (2, "")
    one, other = open_log(), open_log()
    [[kept], [given], [given_too]] = wait_for_assignment(giver, one, other)

    one.acknowledge(plan)
    assert topic.committed() == {given: stored, kept: planned, given_too: planned}
    assert (one.pending(), other.pending()) == ([], [plan])

    giver.acknowledge(plan)
    giver.acknowledge(plan)
    assert topic.committed() == {given: stored, kept: stored, given_too: planned}
    assert other.is_current(plan)
    assert one.planned() == [plan]

    other.acknowledge(plan)
    assert topic.committed() == dict.fromkeys(range(3), stored)
    assert not retry_until_answered(lambda: giver.is_current(plan))
    assert [log.planned() for log in (giver, one, other)] == [[], [], []]
    assert [lag(log) for log in (giver, one, other)] == [0, 0, 0]


def test_who_gave_a_partition_away_never_moves_it_forwards_or_back(open_log: OpenLog, topic: Topic) -> None:
    _put_two_each(topic)
    giver = open_log()
    plan = giver.plan(ranges_of(read(giver, 6)), 5000)
    assert plan is not None
    taker = open_log()
    kept, given = wait_for_assignment(giver, taker)

    for partition in range(3):
        topic.put(b"c", partition=partition)
    # This acknowledges the first plan on the partitions that `giver` still has.
    second = giver.plan(ranges_of(read(giver, len(kept))), 6000)
    assert second is not None
    assert _at(topic.committed(), kept) == [(2, to_metadata(second))] * len(kept)
    assert _at(topic.committed(), given) == [(0, to_metadata(plan))] * len(given)

    taker.acknowledge(plan)
    third = taker.plan(ranges_of(read(taker, len(given))), 7000)
    assert third is not None
    taker.acknowledge(third)
    giver.acknowledge(plan)
    giver.acknowledge(second)
    assert topic.committed() == dict.fromkeys(range(3), (3, ""))


def test_a_batch_one_of_whose_partitions_was_taken_away_is_not_planned(open_log: OpenLog, topic: Topic) -> None:
    _put_two_each(topic)
    giver = open_log()
    batch = read(giver, 6)
    taker = open_log()
    kept, given = wait_for_assignment(giver, taker)

    assert giver.plan(ranges_of(batch), 5000) is None

    assert topic.committed() == {}
    left = [record for record in batch if record.partition in kept]
    assert read(giver, len(left)) == left
    plan = giver.plan(ranges_of(left), 6000)
    assert plan == Plan(tuple(Range(partition, 0, 2) for partition in kept), 6000)
    assert read(taker, 2 * len(given)) == [record for record in batch if record.partition in given]


def test_a_partition_that_comes_back_is_read_where_the_other_process_left_it(open_log: OpenLog, topic: Topic) -> None:
    _put_two_each(topic)
    giver = open_log()
    plan = giver.plan(ranges_of(read(giver, 6)), 5000)
    assert plan is not None
    taker = open_log()
    _, given = wait_for_assignment(giver, taker)
    for partition in given:
        topic.put(b"c", b"d", partition=partition)
    taker.acknowledge(plan)
    after = read(taker, 2 * len(given))
    further = taker.plan(ranges_of([record for record in after if record.offset == 2]), 6000)
    assert further is not None
    taker.acknowledge(further)

    taker.close()
    wait_for_assignment(giver)

    assert giver.pending() == []
    assert values(read(giver, len(given))) == [b"d"] * len(given)
    giver.acknowledge(plan)
    assert _at(topic.committed(), given) == [(3, "")] * len(given)


def test_a_partition_that_went_while_nobody_read_is_read_when_it_comes_back(open_log: OpenLog, topic: Topic) -> None:
    log = open_log()
    wait_for_assignment(log)
    wait_for(lambda: log._member._paused)
    taker = open_log()
    wait_for_assignment(log, taker)

    assert log.read(10, 1000, 0.1) == []
    taker.close()
    wait_for_assignment(log)
    _put_two_each(topic)

    assert len(read(log, 6)) == 6


def test_the_plan_of_a_partition_that_comes_back_is_pending_then(open_log: OpenLog, topic: Topic) -> None:
    _put_two_each(topic)
    log = open_log()
    plan = log.plan(ranges_of(read(log, 6)), 5000)
    taker = open_log()
    wait_for_assignment(log, taker)
    assert log.pending() == []

    taker.close()
    wait_for_assignment(log)

    assert log.pending() == [plan]


def test_a_plan_whose_partitions_were_all_taken_away_is_no_longer_pending(open_log: OpenLog, topic: Topic) -> None:
    plans = [Plan((Range(partition, 0, 2),), 5000) for partition in range(3)]
    _put_two_each(topic)
    topic.commit({partition: (0, to_metadata(plan)) for partition, plan in enumerate(plans)})
    log = open_log()
    wait_for_assignment(log)
    assert sorted(plan.ranges for plan in log.pending()) == [plan.ranges for plan in plans]

    kept, given = wait_for_assignment(log, taker := open_log())

    for owner, share in ((log, kept), (taker, given)):
        assert sorted(plan.ranges[0].partition for plan in owner.pending()) == share


def test_a_plan_of_others_that_reaches_over_partitions_not_given_is_left_to_them(
    open_log: OpenLog, topic: Topic
) -> None:
    """Each partition carries a plan that its neighbour has already stored; the neighbour carries the next one."""
    _put_two_each(topic)
    plans = [Plan(tuple(sorted([Range(at, 1, 2), Range((at + 1) % 3, 0, 1)])), 5000 + at) for at in range(3)]
    topic.commit({at: (1, to_metadata(plan)) for at, plan in enumerate(plans)})
    logs = [open_log(), open_log(), open_log()]

    shares = wait_for_assignment(*logs)

    assert [log.pending() for log in logs] == [[plans[at]] for [at] in shares]
    topic.put(b"c", partition=0)
    [reader] = [log for log, share in zip(logs, shares, strict=True) if share == [0]]
    assert values(read(reader, 1)) == [b"c"]


def test_a_plan_that_was_planned_anew_on_a_neighbour_is_not_run(open_log: OpenLog, topic: Topic) -> None:
    _put_two_each(topic)
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
    _put_two_each(topic)
    log = open_log()
    records = read(log, 6)
    log.plan(ranges_of([record for record in records if record.partition < 2]), 5000)

    second = log.plan(ranges_of([record for record in records if record.partition == 2]), 6000)

    assert second is not None
    assert topic.committed() == {0: (2, ""), 1: (2, ""), 2: (0, to_metadata(second))}
    assert log.planned() == [second]


def test_a_new_plan_leaves_a_pending_one_as_it_is(open_log: OpenLog, topic: Topic) -> None:
    _put_two_each(topic)
    pending = Plan((Range(0, 0, 1),), 5000)
    topic.commit({0: (0, to_metadata(pending))})
    log = open_log()
    records = read(log, 5)

    assert log.plan(ranges_of(records), 6000) is None  # it would follow a plan that may be discarded
    plan = log.plan(ranges_of([record for record in records if record.partition == 1]), 6000)

    assert plan is not None
    assert topic.committed() == {0: (0, to_metadata(pending)), 1: (0, to_metadata(plan))}


def test_a_discarded_plan_gives_back_only_partitions_that_carry_it(open_log: OpenLog, topic: Topic) -> None:
    _put_two_each(topic)
    log = open_log()
    void = log.plan(ranges_of(read(log, 6)), 5000)
    assert void is not None
    taker = open_log()
    _, given = wait_for_assignment(log, taker)
    taker.acknowledge(void)
    taker.close()
    wait_for_assignment(log)
    for partition in given:
        topic.put(b"c", partition=partition)
    wait_for(lambda: len(log.read(100, 1 << 20, 0.1)) == len(given))

    log.discard(void)

    kept = [partition for partition in range(3) if partition not in given]
    assert [(record.partition, record.offset) for record in read(log, 2 * len(kept) + len(given))] == sorted(
        [(partition, offset) for partition in kept for offset in (0, 1)] + [(partition, 2) for partition in given]
    )


def test_partitions_that_are_added_are_read_from_their_beginning(open_log: OpenLog, topic: Topic) -> None:
    log = open_log(topic_metadata_refresh_interval_ms="500")
    wait_for_assignment(log)
    topic.put(b"a")
    assert values(read(log, 1)) == [b"a"]

    admin = AdminClient({"bootstrap.servers": topic.bootstrap})
    admin.create_partitions([NewPartitions(topic.name, 4)])[topic.name].result(10)
    wait_for(lambda: len(admin.list_topics(topic.name, timeout=10).topics[topic.name].partitions) == 4)
    topic.put(b"b", b"c", partition=3)

    assert values(read(log, 3)) == [b"a", b"b", b"c"]
    assert assigned_partitions(log) == [0, 1, 2, 3]


def test_a_batch_is_of_no_more_partitions_than_a_plan_holds(open_log: OpenLog, topic: Topic) -> None:
    count = PLAN_PARTITIONS + 10
    admin = AdminClient({"bootstrap.servers": topic.bootstrap})
    admin.create_partitions([NewPartitions(topic.name, count)])[topic.name].result(10)
    wait_for(lambda: len(admin.list_topics(topic.name, timeout=10).topics[topic.name].partitions) == count)
    for partition in range(count):
        topic.put(b"%d" % partition, partition=partition)
    log = open_log()
    wait_for_assignment(log, partitions=count)
    wait_for(lambda: len(log.read(1000, 1 << 20, 0.1)) >= PLAN_PARTITIONS)

    first = log.read(1000, 1 << 20, 0.1)
    assert len({record.partition for record in first}) == len(first) == PLAN_PARTITIONS
    assert log.plan(ranges_of(first), 5000) is not None
    assert len(read(log, 10)) == 10


def test_a_record_is_kept_as_it_was_sent(open_log: OpenLog, topic: Topic) -> None:
    headers = [("content-type", b"application/json"), ("ce_id", b"1"), ("ce_id", b"\xff"), ("none", None)]
    topic.put(None, b"", at_ms=1000, headers=headers)
    topic.put(b"c", at_ms=2000)

    assert read(open_log(), 3) == [
        Record(0, 0, 1000, None, headers),
        Record(0, 1, 1000, b"", headers),
        Record(0, 2, 2000, b"c"),
    ]


def test_a_record_whose_header_has_a_name_that_is_no_text_is_read_without_headers(
    open_log: OpenLog, topic: Topic
) -> None:
    """Other clients than Python's and Java's can send such a name. One record must not stop all that follow."""
    topic.put(b"a")
    topic.put_with_header_name(b"\xff\xfe", *[b"b"] * 50)
    topic.put(b"c", headers=[("kind", b"good")])
    log = open_log()

    records = read(log, 52)
    assert [record[3:5] for record in records] == [(b"a", None), *[(b"b", None)] * 50, (b"c", [("kind", b"good")])]
    plan = log.plan(ranges_of(records), 5000)
    assert plan is not None
    assert log.reread(plan) == records


@pytest.mark.parametrize("topic_options", [{"message.timestamp.after.max.ms": str(2**63 - 1)}])
@pytest.mark.parametrize(("sent_ms", "arrived_ms"), [(9_000_000_000_000_000, 4_102_444_799_999), (-5, 0), (7, 7)])
def test_a_time_of_sending_is_one_a_calendar_has(
    open_log: OpenLog, topic: Topic, sent_ms: int, arrived_ms: int
) -> None:
    topic.put(b"a", at_ms=sent_ms)

    assert [record.arrived_ms for record in read(open_log(), 1)] == [arrived_ms]


@pytest.mark.parametrize("topic_options", [{"max.message.bytes": str(11 << 20)}])
def test_a_record_of_ten_megabytes_is_read(open_log: OpenLog, topic: Topic) -> None:
    large = b"x" * (10 << 20)
    topic.put(b"a", large, b"c", max_bytes=11 << 20)
    log = open_log()

    assert values(read(log, 3)) == [b"a", large, b"c"]
    assert len(log.read(10, 1 << 20, 0)) == 1


def test_what_a_transaction_takes_back_is_not_seen_and_not_waited_for(open_log: OpenLog, topic: Topic) -> None:
    for values_, outcome in (((b"a", b"b"), "commit"), ((b"x",), "abort"), ((b"c",), "commit"), ((b"y",), "abort")):
        topic.put_in_transaction(values_, outcome)
    log = open_log()

    records = read(log, 3)
    assert values(records) == [b"a", b"b", b"c"]
    plan = log.plan(ranges_of(records), 5000)
    assert plan == Plan((Range(0, 0, 6),), 5000)
    assert log.reread(plan) == records
    log.acknowledge(plan)
    assert log.read(10, 1000, 0.5) == []
    assert (log.waiting(), log.lag().records) == (0, 0)
    assert open_log().planned() == []


def test_headers_count_to_the_bytes_of_a_batch(open_log: OpenLog, topic: Topic) -> None:
    topic.put(*[b"{}"] * 20, headers=[("baggage", b"x" * 100_000), ("empty", None)])
    log = open_log()
    read(log, 20)

    assert len(log.read(1000, 1_000_000, 0)) == 9


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


def test_an_open_transaction_is_waited_for(open_log: OpenLog, topic: Topic) -> None:
    log = open_log()
    with topic.transaction((b"a",)) as commit:
        topic.put(b"b")
        assert log.read(10, 1000, 1) == []
        commit()

    assert values(read(log, 2)) == [b"a", b"b"]


def test_a_partition_with_a_long_backlog_does_not_starve_the_others(open_log: OpenLog, topic: Topic) -> None:
    topic.put(*[b"x" * 100] * 300_000, partition=0)
    topic.put(b"a", partition=1)
    topic.put(b"b", partition=2)
    log = open_log()

    seen: list[bytes | None] = []
    batches = 0
    while not {b"a", b"b"} <= set(seen):
        batch = log.read(10_000, 1 << 30, 5)
        assert [record[:2] for record in batch] == sorted(record[:2] for record in batch)
        assert log.plan(ranges_of(batch), 5000 + batches) is not None
        seen += values(batch)
        batches += 1

    assert batches <= 15  # of 31: all that a fetch brings of one partition comes before the next partition
    seen += [value for _ in range(32) for value in values(_planned(log))]
    assert len(seen) == 300_002


def test_a_batch_ends_though_records_keep_coming(
    open_log: OpenLog, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users wait for these events. In a busy topic no partition is ever read to its end."""
    monkeypatch.setattr(AssignedPartition, "at_end", False)
    monkeypatch.setattr("ingest.kafka.log._MORE_WAIT_SECONDS", 1)
    log, stop = open_log(), threading.Event()

    def send() -> None:
        producer = Producer({"bootstrap.servers": topic.bootstrap, "linger.ms": 0})
        while not stop.wait(0.005):
            producer.produce(topic.name, b"x")
            producer.poll(0)
        producer.flush()

    sender, most = threading.Thread(target=send), threading.Timer(10, stop.set)
    sender.start()
    most.start()
    wait_for(lambda: log.read(1, 1000, 0.5) != [])
    log.read(1_000_000, 1 << 30, 1)
    ended_by_itself = not stop.is_set()
    most.cancel()
    stop.set()
    sender.join()

    assert ended_by_itself


def test_what_waits_in_a_topic_is_not_held_in_memory(broker: Kafka) -> None:
    """Two million compressed records, and a process that has read one and then stops reading."""
    topic = Topic(require_real_broker(broker).bootstrap, 12)
    broker.create_topic(topic.name, 12)
    producer = Producer({"bootstrap.servers": topic.bootstrap, "compression.type": "lz4", "linger.ms": 20})
    for number in range(2_000_000):
        value = b'{"id":"%032x","tokens":%d}' % (number * 7**40 % 2**128, number)
        while True:
            try:
                producer.produce(topic.name, value, partition=number % 12)
            except BufferError:
                producer.poll(0.1)
            else:
                break
    assert producer.flush(60) == 0

    command = [sys.executable, "-m", "tests.harness.kafka_child", topic.bootstrap, topic.name, "12", "consumer", "idle"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    grown = int(told.removeprefix("grew "))
    assert 0 < grown < (2 * QUEUE_BYTES + 10 * FETCH_BYTES) >> 20


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


def _planned(log: KafkaLog) -> list[Record]:
    batch = log.read(10_000, 1 << 30, 1)
    if batch:
        log.plan(ranges_of(batch), 9000)
    return batch
