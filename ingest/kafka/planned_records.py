"""The records of a plan, read once more: all its ranges, whichever process has their partitions now.

Owns: a consumer outside the group for each plan that is resumed; what the topic no longer holds of it.
Source: docs/design.md R6, R7.
"""

import time

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from engine.config.kafka_settings import KafkaSettings
from engine.errors import LogUnavailable
from ingest.event_log import Plan, Range, Record
from ingest.kafka.client import (
    ANSWER_SECONDS,
    as_ours,
    as_record,
    client_options,
    connect,
    kafka_errors,
    reading_options,
)

_CHUNK = 2000
_POLL_SECONDS = 0.05


def reread(settings: KafkaSettings, plan: Plan) -> list[Record]:
    """Return the records of a plan in the order of its block, the same each time. Raises: LogUnavailable."""
    with kafka_errors("reading a plan's records"):
        consumer = connect(Consumer, client_options(settings, reading_options(settings, "classic")))
        try:
            return _Rereading(settings.topic, consumer, plan).records()
        finally:
            consumer.close()


class _Rereading:
    def __init__(self, topic: str, consumer: Consumer, plan: Plan) -> None:
        self._topic = topic
        self._consumer = consumer
        self._plan = plan
        self._records: list[Record] = []
        self._ends: dict[int, int] = {}  # of ranges that are not read to their end yet

    def records(self) -> list[Record]:
        self._consumer.assign([start for range_ in self._plan.ranges for start in self._start(range_)])
        deadline = time.monotonic() + ANSWER_SECONDS
        while self._ends:
            messages = self._consumer.consume(_CHUNK, _POLL_SECONDS)
            if messages:
                deadline = time.monotonic() + ANSWER_SECONDS
            elif time.monotonic() > deadline:
                raise LogUnavailable(f"Kafka: the records of a plan did not come in {ANSWER_SECONDS} s")
            for message in messages:
                self._collect(message)
        return sorted(self._records)

    def _start(self, range_: Range) -> list[TopicPartition]:
        """Tell what a range has lost at either end; return where to read what is left of it, if anything is."""
        partition, start, end = range_
        low, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), timeout=ANSWER_SECONDS)
        first = min(max(low, start), end)
        last = max(min(high, end), first)
        if first > start:
            self._lose(partition, start, f"offsets {start} to {first - 1} were deleted from the topic")
        if last < end:
            self._lose(partition, last, f"offsets {last} to {end - 1} are no longer in the topic")
        if first == last:
            return []
        self._ends[partition] = last
        return [TopicPartition(self._topic, partition, first)]

    def _lose(self, partition: int, offset: int, what: str) -> None:
        lost = f"{what} while a plan held them"
        self._records.append(Record(partition, offset, self._plan.stored_ms, None, None, lost))

    def _collect(self, message: Message) -> None:
        error, partition, offset = message.error(), message.partition(), message.offset()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise as_ours(error, "reading a plan's records")
        if partition not in self._ends or offset is None:
            return
        if error is None and offset < self._ends[partition]:
            self._records.append(as_record(message))
        following = offset if error is not None else offset + 1  # a broker that is behind has an end of its own
        if following >= self._ends[partition]:
            del self._ends[partition]
