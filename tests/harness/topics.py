"""Topics for tests: filled as any producer would fill them, and read by event logs that represent processes.

Owns: `Topic`, the commits of its group, and waiting for a group, which takes some time to assign its partitions.
"""

import ctypes
import functools
import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from pydantic import SecretStr

from engine.config.kafka_settings import KafkaSettings
from engine.errors import LogUnavailable
from ingest.event_log import EventLog, Headers, Record
from ingest.kafka.log import KafkaLog
from tests.harness.broker import Kafka, Kind
from tests.harness.librdkafka import librdkafka
from tests.harness.services import skip_or_fail

_T = TypeVar("_T")

WAIT_SECONDS = 60
_QUICK = {"fetch.wait.max.ms": "50"}  # 500 by default: how long an answer waits for records, which others may have
CLASSIC = {"session.timeout.ms": "6000", "heartbeat.interval.ms": "500"}


@dataclass
class Topic:
    """A topic and the group that reads it. Both have names that only one test uses."""

    bootstrap: str
    partitions: int
    name: str = field(default_factory=lambda: f"events-{secrets.token_hex(4)}")

    def settings(self, protocol: str = "consumer", options: dict[str, str] | None = None) -> KafkaSettings:
        given = _QUICK | (CLASSIC if protocol == "classic" else {}) | (options or {})
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
        """Send records. Return when all brokers have them, each once and in this order, even if some are sent twice.

        It fails if a broker refuses one.
        """
        errors: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: object) -> None:
            if error:
                errors.append(error)

        producer = _producer(self.bootstrap, max_bytes)
        producer.list_topics(self.name, timeout=WAIT_SECONDS)  # it may know the topic with fewer partitions
        for value in values:
            producer.produce(
                self.name,
                value,
                partition=partition,
                timestamp=at_ms,
                headers=list(headers or []),
                on_delivery=delivered,
            )
        assert producer.flush(WAIT_SECONDS) == 0
        assert not errors, f"the broker refused records: {errors}"

    def put_with_header_name(self, name: bytes, *values: bytes) -> None:
        """Send records with a header name that no Python client can send: directly through the C API of librdkafka."""
        library = librdkafka()
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
        """Send values to partition 0 in a transaction. `outcome` is commit or abort."""
        with self.transaction(values_) as commit:
            if outcome == "commit":
                commit()

    @contextmanager
    def transaction(self, values_: Sequence[bytes]) -> Iterator[Callable[[], None]]:
        """Send values to partition 0 in a transaction. Yield the function that commits it; without a call, abort it."""
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

    def committed(self) -> dict[int, tuple[int, str]]:
        """Return the committed offset and metadata of each partition that has a commit."""
        partitions = [TopicPartition(self.name, number) for number in range(self.partitions)]
        found: list[TopicPartition] = []

        def answered() -> bool:
            nonlocal found
            try:
                found = consumer.committed(partitions, timeout=WAIT_SECONDS)
            except KafkaException as exception:
                if not exception.args[0].retriable() and exception.args[0].code() != KafkaError.NOT_COORDINATOR:
                    raise
            return bool(found)

        with Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.name}) as consumer:
            wait_for(answered)
        return {answer.partition: (answer.offset, answer.metadata or "") for answer in found if answer.offset >= 0}

    def commit(self, commits: Mapping[int, tuple[int, str]]) -> None:
        """Commit offsets with metadata, as a process that died had done. The group must have no members."""
        offsets = [TopicPartition(self.name, number, *commit) for number, commit in commits.items()]
        with Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.name}) as committer:
            committer.commit(offsets=offsets, asynchronous=False)

    def delete_before(self, offsets: Mapping[int, int]) -> None:
        """Delete the records before an offset of each partition, as retention would."""
        limits = [TopicPartition(self.name, number, offset) for number, offset in offsets.items()]
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for done in admin.delete_records(limits).values():
            done.result(WAIT_SECONDS)


@functools.cache
def _producer(bootstrap: str, max_bytes: int) -> Producer:
    """Return one producer for all topics of a broker: a new one waits half a second for its id."""
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "max.in.flight.requests.per.connection": 1,  # with more, a new partition may lack its first record (R3)
            "queue.buffering.max.messages": 0,
            "message.max.bytes": max_bytes,
            "reconnect.backoff.max.ms": 500,  # a test may kill the broker and start it again
            "log_level": 0,  # it outlives the broker
        }
    )


def require_real_broker(broker: Kafka) -> Kafka:
    """Return the broker, or skip the test if it is a mock, which has no transactions and no newer group protocol."""
    if broker.kind is Kind.MOCK:
        skip_or_fail(f"needs a real broker, but there is only a {broker.label}")
    return broker


def assigned_partitions(log: KafkaLog) -> list[int]:
    """Return the partitions that the group has assigned to a log. The log joins the group if it is not a member."""
    log.pending()
    return sorted(log._assigned)


def wait_for_assignment(*logs: KafkaLog, partitions: int = 3) -> list[list[int]]:
    """Wait until each log has some partitions and all partitions are assigned. Return the partitions of each log."""
    shares: list[list[int]] = []

    def all_are_assigned() -> bool:
        nonlocal shares
        shares = [retry_until_answered(functools.partial(assigned_partitions, log)) for log in logs]
        return sorted(number for share in shares for number in share) == list(range(partitions)) and all(shares)

    wait_for(all_are_assigned, lambda: shares)
    return shares


def read(log: EventLog, count: int) -> list[Record]:
    """Wait until a log has exactly `count` records to plan, and return them."""
    records: list[Record] = []

    def enough() -> bool:
        nonlocal records
        records = retry_until_answered(lambda: log.read(max(1000, 2 * count), 1 << 30, 0.1))
        return len(records) >= count

    wait_for(enough, lambda: f"{len(records)} of {count} records")
    assert len(records) == count, records
    return records


def lag(log: EventLog) -> float:
    """Wait until a log knows the lag of each of its partitions, and return it in records."""

    def known() -> bool:
        retry_until_answered(lambda: log.read(1, 1, 0.1))
        return not math.isnan(log.lag().records)

    wait_for(known)
    return log.lag().records


def retry_until_answered(attempt: Callable[[], _T]) -> _T:
    """Call `attempt` until the log answers, as the consumer does: a broker may not answer for a moment now and then."""
    answers: list[_T] = []
    errors: list[LogUnavailable] = []

    def answered() -> bool:
        try:
            answers.append(attempt())
        except LogUnavailable as error:
            errors.append(error)
            return False
        return True

    wait_for(answered, lambda: errors[-1])
    return answers[0]


def values(records: Sequence[Record]) -> list[bytes | None]:
    return [record.value for record in records]


def wait_for(condition: Callable[[], bool], seen: Callable[[], object] = lambda: "") -> float:
    """Wait until a condition holds, and return the seconds it took. On failure the message contains `seen()`."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < WAIT_SECONDS, f"not within {WAIT_SECONDS} s; last seen: {seen()}"
        time.sleep(0.02)
    return time.monotonic() - began
