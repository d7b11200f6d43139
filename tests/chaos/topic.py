"""A topic, what it contains, and the progress of its group.

Owns: `Topic`, which asks the broker for ends and commits, adds partitions, and counts the events of the load.
Source: librdkafka CONFIGURATION.md.
"""

import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewPartitions

from tests.chaos.load import SOURCE
from tests.harness.broker import create_topic

SECONDS = 60
_LOAD_SOURCE = f'"source":"{SOURCE}"'.encode()


class Topic:
    """One topic and the commits of one group. Thread-safe."""

    def __init__(self, bootstrap: str, name: str, group: str, partitions: int) -> None:
        self.name = name
        self.group = group
        self._bootstrap = bootstrap
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        self._lock = threading.Lock()
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "enable.auto.commit": False,
                "log_level": 0,
                "reconnect.backoff.max.ms": 200,
                "topic.metadata.refresh.interval.ms": 1000,  # to find added partitions
            }
        )
        self._partitions = range(create_topic(bootstrap, name, partitions))
        self._wait_for_leaders()

    def _wait_for_leaders(self) -> None:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                self._consumer.list_topics(self.name, timeout=5)  # renews the metadata of the topic
                self.ends()
            except KafkaException:
                assert time.monotonic() < deadline, f"no leaders for {self.name}"
                time.sleep(0.05)
            else:
                return

    def grow(self, partitions: int) -> None:
        """Increase the number of partitions to `partitions`."""
        wanted = [NewPartitions(self.name, partitions)]
        self._admin.create_partitions(wanted)[self.name].result(SECONDS)
        self._partitions = range(partitions)
        self._wait_for_leaders()

    def take_large_records(self, size: int) -> None:
        """Allow records of `size` bytes. Kafka's default is a megabyte."""
        entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, self.name, incremental_configs=[entry])
        self._admin.incremental_alter_configs([resource])[resource].result(SECONDS)

    def ends(self) -> dict[int, int]:
        """Return the end of each partition. Raises: KafkaException: the broker does not answer."""
        latest = {TopicPartition(self.name, partition): OffsetSpec.latest() for partition in self._partitions}  # type: ignore[no-untyped-call]
        try:
            asked = self._admin.list_offsets(latest, request_timeout=5)
            ends = {one.partition: found.result().offset for one, found in asked.items()}
        except KafkaException:
            self._admin.list_topics(self.name, timeout=5)  # without this librdkafka looks for no new leaders
            raise
        if any(end < 0 for end in ends.values()):  # what it returns for a request that has timed out
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return ends

    def commits(self) -> dict[int, tuple[int, str]]:
        """Return the committed offset (negative: none) and metadata of each partition. Raises: KafkaException."""
        with self._lock:
            partitions = [TopicPartition(self.name, partition) for partition in self._partitions]
            found = self._consumer.committed(partitions, timeout=5)
        for position in found:
            if position.error is not None:
                raise KafkaException(position.error)
        return {position.partition: (position.offset, position.metadata or "") for position in found}

    def reset(self) -> None:
        """Set the group back to the beginning of the topic. The group must have no members."""
        with self._lock:
            starts = [TopicPartition(self.name, partition, 0) for partition in self._partitions]
            self._consumer.commit(offsets=starts, asynchronous=False)

    def is_deserted(self) -> bool:
        """Return whether the group has no members."""
        found = self._admin.describe_consumer_groups([self.group])[self.group].result(SECONDS)
        return not found.members

    def is_drained(self) -> bool:
        """Return whether everything is stored and no plan is left."""
        try:
            ends, commits = self.ends(), self.commits()
        except KafkaException:
            return False
        return all(max(0, commits[partition][0]) == end for partition, end in ends.items()) and not any(
            metadata for _, metadata in commits.values()
        )

    def stored(self) -> int | None:
        """Return how many records of all partitions are stored, or None if the broker does not answer."""
        try:
            return sum(max(0, offset) for offset, _ in self.commits().values())
        except KafkaException:
            return None

    def distinct_events(self) -> int:
        """Return how many different events of the load the topic contains."""
        consumer = Consumer(
            {"bootstrap.servers": self._bootstrap, "group.id": "reader", "enable.auto.commit": False, "log_level": 0}
        )
        ends = {partition: end for partition, end in self.ends().items() if end}
        consumer.assign([TopicPartition(self.name, partition, 0) for partition in ends])
        found = bytearray(1 << 23)
        while ends:
            for message in consumer.consume(10_000, 1):
                partition, offset = message.partition(), message.offset()
                assert message.error() is None and partition is not None and offset is not None
                number = _number(message)
                if number is not None:
                    found[number] = 1
                if offset + 1 >= ends.get(partition, 0):
                    ends.pop(partition, None)
        consumer.close()
        return found.count(1)

    def close(self) -> None:
        self._consumer.close()


def _number(message: Message) -> int | None:
    """Return the number of an event of the load, or None for another record."""
    value = message.value()
    if value is not None and value.find(_LOAD_SOURCE, 0, 200) >= 0:
        return int(value[27 : value.index(b'"', 27)].partition(b"-")[2])
    headers = dict(message.headers() or [])
    if headers.get("ce_source") == SOURCE.encode():
        return int(str(headers["ce_id"], "ascii").partition("-")[2])  # type: ignore[arg-type] # bytes
    return None
