"""Topics for tests: filled as any producer fills them, read by logs that stand for processes.

Owns: `Topic`, what its group has committed, and waiting: a group takes its time to share partitions out.
"""

import ctypes
import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from pydantic import SecretStr

from engine.config.kafka_settings import KafkaSettings
from engine.errors import LogUnavailable
from ingest.event_log import EventLog, Headers, Record
from ingest.kafka.log import KafkaLog
from tests.harness.broker import Kafka, Kind
from tests.harness.services import lacking

_T = TypeVar("_T")

WAIT_SECONDS = 60
CLASSIC = {"session.timeout.ms": "6000", "heartbeat.interval.ms": "500"}


@dataclass
class Topic:
    """A topic and the group that reads it, both named for one test."""

    bootstrap: str
    partitions: int
    name: str = field(default_factory=lambda: f"events-{secrets.token_hex(4)}")

    def settings(self, protocol: str = "consumer", options: dict[str, str] | None = None) -> KafkaSettings:
        given = (CLASSIC if protocol == "classic" else {}) | (options or {})
        return KafkaSettings(
            brokers=self.bootstrap,
            topic=self.name,
            group=self.name,
            partitions=self.partitions,
            group_protocol=protocol,
            options={name: SecretStr(value) for name, value in given.items()},
        )

    def put(
        self,
        *values: bytes | None,
        partition: int = 0,
        at_ms: int = 1,
        headers: Headers | None = None,
        max_bytes: int = 1_000_000,
    ) -> None:
        """Returns when all brokers have the records, each once and in this order, whatever is sent again."""
        sizes = {"queue.buffering.max.messages": 0, "message.max.bytes": max_bytes}
        producer = Producer({"bootstrap.servers": self.bootstrap, "enable.idempotence": True, **sizes})
        for value in values:
            producer.produce(self.name, value, partition=partition, timestamp=at_ms, headers=list(headers or []))
        assert producer.flush(WAIT_SECONDS) == 0

    def put_with_header_name(self, name: bytes, *values: bytes) -> None:
        """Send records with a header named as no client in Python can; straight through librdkafka, by its C API."""
        [path] = (Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs").glob("librdkafka-*")
        library = ctypes.CDLL(str(path))
        library.rd_kafka_conf_new.restype = library.rd_kafka_new.restype = ctypes.c_void_p
        conf, error = ctypes.c_void_p(library.rd_kafka_conf_new()), ctypes.create_string_buffer(512)
        library.rd_kafka_conf_set(conf, b"bootstrap.servers", self.bootstrap.encode(), error, 512)
        producer = ctypes.c_void_p(library.rd_kafka_new(0, conf, error, 512))
        topic_, partition, value_, flags, header, end = 1, 3, 4, 7, 9, 0  # rd_kafka_vtype_t
        for value in values:
            size = ctypes.c_size_t(len(value))
            given = [topic_, self.name.encode(), partition, 0, value_, value, size, flags, 2, header, name, b"x"]
            assert library.rd_kafka_producev(producer, *given, ctypes.c_ssize_t(1), end) == 0
        assert library.rd_kafka_flush(producer, WAIT_SECONDS * 1000) == 0
        library.rd_kafka_destroy(producer)

    def put_in_transaction(self, values_: Sequence[bytes], outcome: str) -> None:
        """`outcome`: commit or abort."""
        with self.transaction(values_) as commit:
            if outcome == "commit":
                commit()

    @contextmanager
    def transaction(self, values_: Sequence[bytes]) -> Iterator[Callable[[], None]]:
        """Yield what commits a transaction that holds values on partition 0; it is taken back if that is not called."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "transactional.id": self.name})
        producer.init_transactions(WAIT_SECONDS)
        producer.begin_transaction()
        for value in values_:
            producer.produce(self.name, value, partition=0, timestamp=1)
        producer.flush(WAIT_SECONDS)
        ended = False

        def commit() -> None:
            nonlocal ended
            producer.commit_transaction(WAIT_SECONDS)
            ended = True

        yield commit
        if not ended:
            producer.abort_transaction(WAIT_SECONDS)

    def configure(self, name: str, value: str) -> None:
        """Set an option of the topic."""
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, self.name, incremental_configs=[entry])
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for done in admin.incremental_alter_configs([resource]).values():
            done.result(WAIT_SECONDS)

    def committed(self) -> dict[int, tuple[int, str]]:
        """Return offset and metadata of each partition that has a commit."""
        asked = [TopicPartition(self.name, number) for number in range(self.partitions)]
        found: list[TopicPartition] = []

        def answered() -> bool:
            nonlocal found
            try:
                found = asker.committed(asked, timeout=WAIT_SECONDS)
            except KafkaException as exception:
                if not exception.args[0].retriable() and exception.args[0].code() != KafkaError.NOT_COORDINATOR:
                    raise
            return bool(found)

        with Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.name}) as asker:
            wait_for(answered)
        return {answer.partition: (answer.offset, answer.metadata or "") for answer in found if answer.offset >= 0}

    def commit(self, commits: Mapping[int, tuple[int, str]]) -> None:
        """Leave commits as a process that died would; the group has no members."""
        left = [TopicPartition(self.name, number, *commit) for number, commit in commits.items()]
        with Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.name}) as committer:
            committer.commit(offsets=left, asynchronous=False)

    def delete_before(self, offsets: Mapping[int, int]) -> None:
        """Delete records as retention would, up to an offset of each partition."""
        limits = [TopicPartition(self.name, number, offset) for number, offset in offsets.items()]
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for done in admin.delete_records(limits).values():
            done.result(WAIT_SECONDS)


def real(broker: Kafka) -> Kafka:
    """Return a broker that is no mock: a mock has neither groups by the newer protocol nor transactions."""
    if broker.kind is Kind.MOCK:
        lacking(f"needs a real broker, but there is only a {broker.label}")
    return broker


def owned(log: KafkaLog) -> list[int]:
    """Return the partitions a log was given; joins the group if it has not."""
    log.pending()
    return sorted(log._shares)


def shared_out(*logs: KafkaLog, partitions: int = 3) -> list[list[int]]:
    """Wait until logs share all partitions among them, each some, and return each one's."""
    shares: list[list[int]] = []

    def all_are_given() -> bool:
        nonlocal shares
        shares = [owned(log) for log in logs]
        return sorted(number for share in shares for number in share) == list(range(partitions)) and all(shares)

    wait_for(all_are_given, lambda: shares)
    return shares


def read(log: EventLog, count: int) -> list[Record]:
    """Return what a log has to be planned, once it is `count` records."""
    records: list[Record] = []

    def enough() -> bool:
        nonlocal records
        records = patiently(lambda: log.read(max(1000, 2 * count), 1 << 30, 0.1))
        return len(records) >= count

    wait_for(enough, lambda: f"{len(records)} of {count} records")
    assert len(records) == count, records
    return records


def lag(log: EventLog) -> float:
    """Return how far a log is behind, once it has heard of each of its partitions."""

    def known() -> bool:
        patiently(lambda: log.read(1, 1, 0.1))
        return not math.isnan(log.lag().records)

    wait_for(known)
    return log.lag().records


def patiently(attempt: Callable[[], _T]) -> _T:
    """Do what the consumer does: try until the log answers; a broker has nothing to say for a moment now and then."""
    answers: list[_T] = []
    refusals: list[LogUnavailable] = []

    def answered() -> bool:
        try:
            answers.append(attempt())
        except LogUnavailable as error:
            refusals.append(error)
            return False
        return True

    wait_for(answered, lambda: refusals[-1])
    return answers[0]


def values(records: Sequence[Record]) -> list[bytes | None]:
    return [record.value for record in records]


def wait_for(condition: Callable[[], bool], seen: Callable[[], object] = lambda: "") -> float:
    """Return the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < WAIT_SECONDS, f"not in {WAIT_SECONDS} s; at last: {seen()}"
        time.sleep(0.02)
    return time.monotonic() - began
