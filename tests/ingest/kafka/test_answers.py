"""An event counts as sent by the broker's answer to the request that carried it, and by no other answer."""

import json
from collections.abc import Iterator
from contextlib import closing

import pytest
from confluent_kafka import KafkaError

from ingest.kafka.producer import KafkaProducer
from tests.harness.broker import MOCK_PARTITIONS, Kafka, Kind
from tests.harness.librdkafka import MockCluster
from tests.harness.topics import Topic
from tests.ingest.kafka.topic_content import stored_values


@pytest.fixture
def cluster() -> Iterator[MockCluster]:
    with closing(MockCluster()) as cluster:
        yield cluster


def event(number: int, size: int = 0) -> bytes:
    """Return an event. Two events of 700,000 bytes are sent in two requests."""
    data = {"p": "x" * size}
    return json.dumps({"id": str(number), "source": "s", "type": "t", "subject": "u", "data": data}).encode()


def test_an_event_is_sent_again_if_only_the_next_request_was_accepted(cluster: MockCluster) -> None:
    """A broker that is about to lead a partition refuses one request, and accepts the next, which is under way."""
    topic = Topic(cluster.bootstrap, MOCK_PARTITIONS)
    Kafka(Kind.MOCK, cluster.bootstrap, "").create_topic(topic.name, topic.partitions)
    with closing(KafkaProducer(topic.settings())) as producer:
        producer.append([event(0)], 1).result(30)  # from now on it is connected, and sends at once
        cluster.answer_after(100)
        cluster.refuse_next_records(KafkaError.NOT_LEADER_FOR_PARTITION)
        producer.append([event(1, 700_000), event(2, 700_000)], 1).result(30)

    assert [json.loads(value or b"")["id"] for value in stored_values(topic)] == ["0", "2", "1"]
