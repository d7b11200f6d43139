"""Records of a topic are read as they were sent, in batches with limits, from all partitions and within transactions.

The long form has both group protocols.
"""

import subprocess
import sys
import threading

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions  # mypy does not accept the import from `admin`

from ingest.event_log import Plan, Range, Record, ranges_of
from ingest.kafka.assigned_partition import AssignedPartition
from ingest.kafka.client import FETCH_BYTES, QUEUE_BYTES
from ingest.kafka.log import KafkaLog
from ingest.kafka.plans import PLAN_PARTITIONS
from tests.harness.broker import Kafka
from tests.harness.topics import (
    Topic,
    assigned_partitions,
    read,
    require_real_broker,
    values,
    wait_for,
    wait_for_assignment,
)
from tests.ingest.conftest import OpenLog


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


def test_an_open_transaction_is_waited_for(open_log: OpenLog, topic: Topic) -> None:
    log = open_log()
    with topic.transaction((b"a",)) as commit:
        topic.put(b"b")
        assert log.read(10, 1000, 1) == []
        commit()

    assert values(read(log, 2)) == [b"a", b"b"]


def test_headers_count_to_the_bytes_of_a_batch(open_log: OpenLog, topic: Topic) -> None:
    topic.put(*[b"{}"] * 20, headers=[("baggage", b"x" * 100_000), ("empty", None)])
    log = open_log()
    read(log, 20)

    assert len(log.read(1000, 1_000_000, 0)) == 9


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


def _planned(log: KafkaLog) -> list[Record]:
    batch = log.read(10_000, 1 << 30, 1)
    if batch:
        log.plan(ranges_of(batch), 9000)
    return batch


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
