"""The tests' Kafka is a real one: it keeps records and committed metadata through kill -9, and hangs when stopped.

Java and Maven are needed. Without them the tests that start their own broker are skipped, except in CI, which must
have them.
"""

import json
import os
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.harness.broker import Broker, Kafka, create_topic
from tests.harness.chosen_broker import _maven, choose_broker
from tests.harness.kafka_jars import fetch_jars
from tests.harness.own_broker import process
from tests.harness.services import available_or_skip
from tests.harness.topics import Topic

__all__ = ["process"]  # a fixture of another file

METADATA = "m" * 4_000


def test_records_and_committed_metadata_outlive_kill_minus_nine(process: Broker) -> None:
    create_topic(process.bootstrap, "kept", 3)
    produce(process.bootstrap, "kept", 100)
    assert consume(process.bootstrap, "kept", 100) == [f"record {number}" for number in range(100)]
    commit(process.bootstrap, "kept", offset=34)
    assert committed(process.bootstrap, "kept") == (34, METADATA)
    address = process.bootstrap

    process.kill()
    process.start()

    assert process.bootstrap == address
    assert consume(process.bootstrap, "kept", 100) == [f"record {number}" for number in range(100)]
    assert committed(process.bootstrap, "kept") == (34, METADATA)


def test_a_stopped_broker_answers_when_it_continues(process: Broker) -> None:
    admin = AdminClient({"bootstrap.servers": process.bootstrap, "log_level": 0})
    admin.list_topics(timeout=10)

    process.stop_signal()
    try:
        time.sleep(0.2)  # answers that were on their way have arrived
        with pytest.raises(KafkaException):
            admin.list_topics(timeout=0.5)
    finally:
        process.continue_()

    assert admin.list_topics(timeout=10).brokers


def test_a_topic_is_not_created_by_asking_for_it(process: Broker) -> None:
    admin = AdminClient({"bootstrap.servers": process.bootstrap, "log_level": 0})

    assert admin.list_topics("unheard-of", timeout=10).topics["unheard-of"].error is not None
    assert "unheard-of" not in admin.list_topics(timeout=10).topics


def test_a_record_that_the_broker_refuses_fails_the_test_that_sends_it(process: Broker) -> None:
    """It would otherwise wait for a record that does not exist."""
    topic = Topic(process.bootstrap, 1)
    create_topic(process.bootstrap, topic.name, 1, {"max.message.bytes": "1000"})
    topic.put(b"a")

    with pytest.raises(AssertionError, match="MSG_SIZE_TOO_LARGE"):
        topic.put(b"x" * 2000)


def test_a_broker_that_cannot_start_says_why(tmp_path: Path, process: Broker) -> None:
    broker = Broker(tmp_path)
    config = tmp_path / "server.properties"
    config.write_text(config.read_text().replace(broker.bootstrap, process.bootstrap))

    with pytest.raises(AssertionError, match=r"(?s)Kafka died at start.*Address already in use"):
        broker.start()

    assert not broker.running


def test_the_chosen_broker_keeps_committed_metadata(broker: Kafka) -> None:
    partitions = broker.create_topic("chosen", 3)
    produce(broker.bootstrap, "chosen", 10)

    commit(broker.bootstrap, "chosen", offset=4)

    assert partitions == (4 if broker.kind == "mock" else 3)
    assert consume(broker.bootstrap, "chosen", 10) == [f"record {number}" for number in range(10)]
    assert committed(broker.bootstrap, "chosen") == (4, METADATA)


def test_without_docker_and_maven_there_is_a_mock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METERPORT_TEST_KAFKA", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    with choose_broker(tmp_path) as kafka:
        partitions = kafka.create_topic("mocked", 3)
        produce(kafka.bootstrap, "mocked", 10)

        assert (kafka.kind, partitions) == ("mock", 4)
        assert "docker does not answer; no java on this machine" in kafka.label
        assert consume(kafka.bootstrap, "mocked", 10) == [f"record {number}" for number in range(10)]


def test_a_broker_that_is_given_is_taken(process: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERPORT_TEST_KAFKA", process.bootstrap)

    with choose_broker(tmp_path) as kafka:
        assert (kafka.kind, kafka.bootstrap) == ("given", process.bootstrap)


def test_processes_with_the_same_directory_share_a_broker_until_the_last_has_left(tmp_path: Path) -> None:
    available_or_skip(fetch_jars)
    with ExitStack() as last:
        with ExitStack() as first:
            started, shared = _maven(tmp_path, first), _maven(tmp_path, last)
            assert started == shared
            _, _, pid = json.loads((tmp_path / "running.json").read_text())
        assert started.create_topic("shared", 1) == 1

    assert os.waitpid(pid, 0)[0] == pid
    assert not (tmp_path / "running.json").exists()


def produce(bootstrap: str, topic: str, records: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    for number in range(records):
        producer.produce(topic, f"record {number}", partition=number % 3)
    assert producer.flush(30) == 0


def consume(bootstrap: str, topic: str, records: int) -> list[str]:
    """Return the topic's records from its beginning, in the order of their numbers."""
    with Consumer(
        {"bootstrap.servers": bootstrap, "log_level": 0, "group.id": "reader", "enable.auto.commit": False}
    ) as consumer:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(3)])
        read: list[str] = []
        deadline = time.monotonic() + 30
        while len(read) < records and time.monotonic() < deadline:
            for message in consumer.consume(records, timeout=1):
                assert message.error() is None
                read.append((message.value() or b"").decode())
    return sorted(read, key=lambda value: int(value.split()[1]))


def commit(bootstrap: str, topic: str, offset: int) -> None:
    """Commit `offset` with METADATA as a group member that has partition 0 by subscription."""
    with Consumer(_member(bootstrap)) as consumer:
        consumer.subscribe([topic])
        deadline = time.monotonic() + 30
        while not consumer.assignment() and time.monotonic() < deadline:
            consumer.poll(0.1)
        assert 0 in {assigned.partition for assigned in consumer.assignment()}
        consumer.commit(offsets=[TopicPartition(topic, 0, offset, METADATA)], asynchronous=False)


def committed(bootstrap: str, topic: str) -> tuple[int, str | None]:
    with Consumer(_member(bootstrap)) as consumer:
        [found] = consumer.committed([TopicPartition(topic, 0)], timeout=30)
        return found.offset, found.metadata


def _member(bootstrap: str) -> dict[str, str | int | bool]:
    return {
        "bootstrap.servers": bootstrap,
        "log_level": 0,
        "group.id": "indexers",
        "session.timeout.ms": 1_000,
        "heartbeat.interval.ms": 300,
        "enable.auto.commit": False,
    }
