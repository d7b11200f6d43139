"""Reads the records of a plan again: all its ranges, whichever process owns their partitions now.

Owns: a consumer outside the group for each plan that is resumed, and the report of what the topic no longer has of it.
Source: docs/design.md R6 (plans), R7 (the same rows on each attempt).
"""

import time

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from engine.config.kafka_settings import KafkaSettings
from engine.errors import LogUnavailable
from ingest.event_log import Plan, Range, Record
from ingest.kafka.client import (
    ANSWER_TIMEOUT_SECONDS,
    as_record,
    client_options,
    connect,
    consumer_options,
    kafka_errors,
    to_meterport_error,
)

_CHUNK_RECORDS = 2000
_POLL_SECONDS = 0.05


def reread(settings: KafkaSettings, plan: Plan) -> list[Record]:
    """Return the records of a plan in the order of its block, the same each time. Raises: LogUnavailable."""
    with kafka_errors("reading a plan's records"):
        consumer = connect(Consumer, client_options(settings, consumer_options(settings, "classic")))
        try:
            return _PlanReader(settings.topic, consumer, plan).records()
        finally:
            consumer.close()


class _PlanReader:
    def __init__(self, topic: str, consumer: Consumer, plan: Plan) -> None:
        self._topic = topic
        self._consumer = consumer
        self._plan = plan
        self._records: list[Record] = []
        self._ends: dict[int, int] = {}  # by partition: the ends of ranges that are not read completely yet

    def records(self) -> list[Record]:
        self._consumer.assign([start for range_ in self._plan.ranges for start in self._start_positions(range_)])
        deadline = time.monotonic() + ANSWER_TIMEOUT_SECONDS
        while self._ends:
            messages = self._consumer.consume(_CHUNK_RECORDS, _POLL_SECONDS)
            if messages:
                deadline = time.monotonic() + ANSWER_TIMEOUT_SECONDS
            elif time.monotonic() > deadline:
                raise LogUnavailable(f"Kafka: the records of a plan did not come in {ANSWER_TIMEOUT_SECONDS} s")
            for message in messages:
                self._collect(message)
        return sorted(self._records)

    def _start_positions(self, range_: Range) -> list[TopicPartition]:
        """Record what a range has lost at either end. Returns where to read the rest of it: one position or none."""
        partition, start, end = range_
        low, high = self._consumer.get_watermark_offsets(
            TopicPartition(self._topic, partition), timeout=ANSWER_TIMEOUT_SECONDS
        )
        first = min(max(low, start), end)
        last = max(min(high, end), first)
        if first > start:
            self._add_loss(partition, start, f"offsets {start} to {first - 1} were deleted from the topic")
        if last < end:
            self._add_loss(partition, last, f"offsets {last} to {end - 1} are no longer in the topic")
        if first == last:
            return []
        self._ends[partition] = last
        return [TopicPartition(self._topic, partition, first)]

    def _add_loss(self, partition: int, offset: int, what: str) -> None:
        lost = f"{what} while a plan held them"
        self._records.append(Record(partition, offset, self._plan.stored_ms, None, None, lost))

    def _collect(self, message: Message) -> None:
        error, partition, offset = message.error(), message.partition(), message.offset()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise to_meterport_error(error, "reading a plan's records")
        if partition not in self._ends or offset is None:
            return
        if error is None and offset < self._ends[partition]:
            self._records.append(as_record(message))
        following = offset if error is not None else offset + 1  # a broker that lags behind reports an end of its own
        if following >= self._ends[partition]:
            del self._ends[partition]
