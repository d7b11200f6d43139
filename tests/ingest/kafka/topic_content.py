"""What a topic contains, read without Meterport."""

import contextlib

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.harness.topics import Topic, wait_for


def stored_messages(topic: Topic) -> list[Message]:
    """Return all records of a topic, by partition and offset."""
    options = {"group.id": "reader", "topic.metadata.refresh.interval.ms": 500}
    with Consumer({"bootstrap.servers": topic.bootstrap, **options}) as reader:
        places = [TopicPartition(topic.name, partition, 0) for partition in range(topic.partitions)]
        left = sum(_end(reader, place) for place in places)
        reader.assign(places)
        found: list[Message] = []
        wait_for(lambda: len(found) == left or found.extend(reader.consume(1000, 0.2)) or False)  # type: ignore[func-returns-value]
    return sorted(found, key=lambda message: (message.partition(), message.offset()))


def _end(reader: Consumer, place: TopicPartition) -> int:
    """Wait until a partition has a leader, and return its end."""
    ends: list[int] = []

    def is_told() -> bool:
        with contextlib.suppress(KafkaException):
            ends.append(reader.get_watermark_offsets(place, timeout=2)[1])
        return bool(ends)

    wait_for(is_told)
    return ends[0]


def stored_values(topic: Topic) -> list[bytes | None]:
    return [message.value() for message in stored_messages(topic)]


def partition_count(topic: Topic) -> int:
    return len(
        AdminClient({"bootstrap.servers": topic.bootstrap}).list_topics(timeout=30).topics[topic.name].partitions
    )
