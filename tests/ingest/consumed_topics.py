"""A topic with events, one process of a group that stores all of them, and what the store contains then."""

import logging
import threading
from contextlib import closing

import pytest

from engine.config.kafka_settings import KafkaSettings
from engine.config.settings import IngestSettings
from engine.instants import milliseconds, utc_now
from engine.store.clickhouse import Store
from ingest.consumer import Consumer
from ingest.event_log import SEE_GAPS
from ingest.kafka.log import KafkaLog
from ingest.stored_positions import StoredPositions
from tests.harness.topics import Topic, wait_for

GOOD = b'{"specversion":"1.0","id":"%d","source":"s","type":"call","subject":"u"}'


def put(topic: Topic, *numbers: int, partition: int = 0) -> None:
    topic.put(*[GOOD % number for number in numbers], partition=partition, at_ms=milliseconds(utc_now()))


def run(topic: Topic, store: Store, **settings: object) -> None:
    """Run one process of the group until it has stored everything, and end it."""
    chosen: KafkaSettings = topic.settings().model_copy(update=settings)
    with closing(KafkaLog(chosen, positions=StoredPositions(store))) as log:
        consumer = Consumer(log, store, IngestSettings(), threading.Event())
        consumer.start()
        wait_for(lambda: not consumer.step(0.1) and len(log._assigned) == topic.partitions and log.waiting() == 0)
        consumer._acknowledge()


def ids(store: Store) -> list[int]:
    return [int(id_) for (id_,) in store.rows("SELECT id FROM events ORDER BY toInt64(id)")]


def reasons(store: Store) -> list[str]:
    return [reason for (reason,) in store.rows("SELECT reason FROM dead_letters ORDER BY log_partition, log_offset")]


def gap_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    return [line.partition(": ")[2].removesuffix(f" {SEE_GAPS}") for line in lines if line.startswith("log_gap")]
