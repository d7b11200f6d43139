"""A topic with a load: its writer, its contents, and the progress of its group.

Owns: `Writer`, which sends a load at a rate, some events twice (later to the same partition, or at once to another),
and makes sure that all of it is delivered; `Topic`, which asks the broker for ends and commits.
Source: librdkafka CONFIGURATION.md.
"""

import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice
from random import Random
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewPartitions

from tests.chaos.load import SOURCE, LoadEvent, Numbers, events
from tests.harness.broker import create_topic

SECONDS = 60
_TICK_SECONDS = 0.2
_STRUCTURED = b"application/cloudevents+json; charset=UTF-8"
_LOAD_SOURCE = f'"source":"{SOURCE}"'.encode()
_REMEMBERED = 2000  # how many recent events may be sent again


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


class RawRecord(NamedTuple):
    """A record that is sent unchanged to a partition."""

    partition: int
    value: bytes | None
    headers: list[tuple[str, str | bytes | None]] = []  # noqa: RUF012 - the field of a tuple, and nothing appends to it


class Writer:
    """Sends a load to a topic. When `finish` or `send` returns, everything that was sent is delivered."""

    def __init__(self, bootstrap: str, topic: Topic, seed: int, first: int = 0, twins: float = 0.02) -> None:
        """Args: first: the number of the first event. twins: the share of events that also go to another partition."""
        self.numbers = Numbers()
        self.records = 0
        self._topic = topic
        self._events = events(seed, self.numbers, first)
        self._chance = Random(seed)  # noqa: S311 - reproducible, not secret
        self._twins = twins
        self._remembered: list[LoadEvent] = []
        self._partitions = len(topic.ends())
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self.rate = 0.0
        self._closing = False
        self._options = {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": 0,  # no limit: everything that was generated must be delivered
            "linger.ms": 20,
            "partitioner": "murmur2_random",
            "delivery.report.only.error": True,
            "queue.buffering.max.messages": 2_000_000,
            "topic.metadata.refresh.interval.ms": 1000,  # to find added partitions
            "message.max.bytes": 64 << 20,
            "reconnect.backoff.max.ms": 200,
            "log_level": 0,
        }
        self._producer = Producer(self._options)

    def run(self, rate: float) -> None:
        """Send `rate` events a second from a thread until `finish`. The attribute `rate` may be changed during that."""
        self.rate = rate
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def send(self, count: int) -> None:
        """Send `count` events, and wait until the broker has them."""
        self._produce(count)
        self._flush()

    def finish(self) -> None:
        """Stop sending, and wait until everything is delivered."""
        self.rate = 0.0
        if self._thread:
            self._stop.set()
            self._thread.join()
            self._thread = None
        if self._error:
            raise self._error
        self._flush()

    def send_raw(self, records: Sequence[RawRecord], topic: str | None = None) -> list[tuple[int, int]]:
        """Send records that do not belong to the load. Return the partition and offset of each."""
        positions: dict[int, tuple[int, int]] = {}

        def on_delivery(index: int) -> Callable[[object, Message], None]:
            def delivered(error: object, message: Message) -> None:
                partition, offset = message.partition(), message.offset()
                assert error is None and partition is not None and offset is not None, error
                positions[index] = partition, offset

            return delivered

        producer = Producer({**self._options, "delivery.report.only.error": False})
        for index, (partition, value, headers) in enumerate(records):
            producer.produce(
                topic or self._topic.name, value, partition=partition, headers=headers, on_delivery=on_delivery(index)
            )
        producer.flush(SECONDS)
        assert len(positions) == len(records), f"{len(records) - len(positions)} records were not delivered"
        return [positions[index] for index in range(len(records))]

    def send_padded(self, size: int) -> None:
        """Send one event whose data is `size` bytes larger than necessary."""
        [sent] = self.take(1)
        body = sent.body.replace(b'"data":{', b'"data":{"pad":"' + b"x" * size + b'",', 1)
        self.send_raw([RawRecord(0, body)])
        self.records += 1

    def spread(self, partitions: int) -> None:
        """Send twins to the first `partitions` partitions from now on."""
        self._partitions = partitions

    def send_in_binary_mode(self, count: int) -> None:
        """Send events in binary mode, and each of them also in structured mode, to another partition."""
        twins = []
        for index, sent in enumerate(self.take(count)):
            event = sent.for_oracle()
            names = ("specversion", "id", "source", "type", "subject", "time")
            texts = ("1.0", event.id, event.source, event.type, event.subject, event.time)
            headers = [(f"ce_{name}", text.encode()) for name, text in zip(names, texts, strict=True)]
            data = event.data.encode() if event.data else None
            twins.append(RawRecord(index % self._partitions, data, [*headers, ("content-type", b"application/json")]))
            twins.append(RawRecord((index + 1) % self._partitions, sent.body, [("content-type", _STRUCTURED)]))
        self.send_raw(twins)

    def take(self, count: int) -> list[LoadEvent]:
        """Return the next events of the load. The caller delivers them."""
        return list(islice(self._events, count))

    def close(self) -> None:
        self._closing = True
        self._stop.set()
        if self._thread:
            self._thread.join()
        self._producer.purge()
        self._producer.close()

    def _run(self) -> None:
        try:
            began, sent, rate = time.monotonic(), 0, self.rate
            while not self._stop.wait(_TICK_SECONDS):
                if rate != self.rate:
                    began, sent, rate = time.monotonic(), 0, self.rate
                due = int((time.monotonic() - began) * rate) - sent
                self._produce(due)
                sent += due
        except BaseException as error:
            self._error = error

    def _produce(self, count: int) -> None:
        random_share = self._chance.random
        for sent in islice(self._events, count):
            self._produce_one(sent)
            if random_share() < self._twins:
                self._produce_one(sent, self._chance.randrange(self._partitions))
            if random_share() < 0.03:
                self._produce_one(self._chance.choice(self._remembered or [sent]))
            if random_share() < 0.5:
                self._remembered.append(sent)
        del self._remembered[:-_REMEMBERED]
        self._producer.poll(0)

    def _produce_one(self, sent: LoadEvent, partition: int = -1) -> None:
        while True:
            try:
                self._producer.produce(
                    self._topic.name, sent.body, sent.subject, partition, on_delivery=self._check_delivery
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                self.records += 1
                return

    def _flush(self) -> None:
        deadline = time.monotonic() + 3 * SECONDS
        while len(self._producer):
            assert time.monotonic() < deadline, f"{len(self._producer)} records were not delivered"
            self._producer.flush(1)

    def _check_delivery(self, error: object, _: object) -> None:
        assert self._closing, f"an event was not delivered: {error}"
