"""Ingest from a Kafka topic into five meters with group-bys, compared with inserting the same JSON directly.

Ingest does everything: 12 partitions on a broker of this machine, plans in commits, claims, and the duplicate check.
The direct insert is `INSERT INTO events … FORMAT JSONEachRow` into the same tables and views, without broker, check or
plan. Both run one after the other. The memory of ingest is measured, too.
"""

import threading
import time
from collections.abc import Iterable
from pathlib import Path

from confluent_kafka import Producer

from benchmarks import world
from benchmarks.ingest import insert_directly
from engine.config.kafka_settings import KafkaSettings
from engine.config.settings import IngestSettings
from engine.store.clickhouse import Store
from ingest.consumer import Consumer
from ingest.kafka.log import KafkaLog
from tests.harness.broker import Kafka
from tests.harness.chosen_broker import choose_broker

TOPIC = "bench"
PARTITIONS = 12


def run(events: int) -> list[str]:
    """Measure both ways over the same events and return the lines to print."""
    values = world.values(events)
    with world.store() as (store, directory), choose_broker(directory / "kafka") as broker:
        broker.create_topic(TOPIC, PARTITIONS)
        fill_topic(broker, values)
        world.ready_meters(store)
        ingest, resident = consume(store, broker)
        stored = store.rows("SELECT count() FROM events")[0][0]
    with world.store() as (store, _):
        world.ready_meters(store)
        direct = insert_directly(store, values)
    if stored != events:
        raise AssertionError(f"{stored} of {events} events were stored")
    return [
        f"{direct / ingest:.2f} of the direct insert's speed ({events} events, 5 meters with 2 group-bys); aim: 0.7",
        f"{events / ingest:,.0f} events/s from the topic; {events / direct:,.0f} events/s directly",
        f"at most {resident >> 20} MiB more resident memory than before, with ClickHouse's own memory",
    ]


def fill_topic(broker: Kafka, values: Iterable[bytes], topic: str = TOPIC) -> None:
    """Produce events with the subject as key. Return when the broker has all of them."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 50, "acks": "all", "log_level": 0})
    for value in values:
        subject = value[value.index(b'"subject":"') + 11 :].split(b'"', 1)[0]
        while True:
            try:
                producer.produce(topic, value, subject)
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush()


def consume(store: Store, broker: Kafka) -> tuple[float, int]:
    """Store all records of the topic. Return the seconds since the first record, and the bytes of added memory."""
    log = KafkaLog(KafkaSettings(brokers=broker.bootstrap, topic=TOPIC))
    consumer = Consumer(log, store, IngestSettings(), threading.Event())
    consumer.start()
    before, most = _resident(), 0
    began = 0.0
    while not began or log.waiting() or log.planned():
        has_records = log.waiting() > 0
        began = began or (time.perf_counter() if has_records else 0.0)
        consumer.step()
        most = max(most, _resident())
    seconds = time.perf_counter() - began
    log.close()
    return seconds, most - before


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096
