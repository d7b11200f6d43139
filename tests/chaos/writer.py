"""The writer of a load: it sends events to a topic at a rate, and makes sure that all of them are delivered.

Owns: `Writer`, which sends some events twice (later to the same partition, or at once to another), and `RawRecord`, a
record that does not belong to the load.
Source: librdkafka CONFIGURATION.md.
"""

import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice
from random import Random
from typing import NamedTuple

from confluent_kafka import Message, Producer

from tests.chaos.load import LoadEvent, Numbers, events
from tests.chaos.topic import SECONDS, Topic

_TICK_SECONDS = 0.2
_STRUCTURED = b"application/cloudevents+json; charset=UTF-8"
_REMEMBERED = 2000  # how many recent events may be sent again


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
            "max.in.flight.requests.per.connection": 1,  # more may lose records when a broker starts (R3)
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
