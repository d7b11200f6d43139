"""From a Kafka topic into five meters with group-bys, against the same JSON put straight in; and the memory it takes.

The way from the topic is all of it: 12 partitions on a broker of this machine, plans in commits, claims, the duplicate
check. The straight way is `INSERT INTO events … FORMAT JSONEachRow` into the same chain: no broker, no check, no plan.
Both in one run, after each other, on the machine as it is.
"""

import threading
import time
from collections.abc import Iterable
from pathlib import Path

from confluent_kafka import Producer

from benchmarks import world
from benchmarks.ingest import straight
from engine.config.kafka_settings import KafkaSettings
from engine.config.settings import IngestSettings
from engine.store.clickhouse import Store
from ingest.consumer import Consumer
from ingest.kafka.log import KafkaLog
from tests.harness.broker import Kafka, choose_broker

TOPIC = "bench"
PARTITIONS = 12


def run(events: int) -> list[str]:
    """Measure both ways over the same events and return the lines to print."""
    made = world.values(events)
    with world.store() as (store, directory), choose_broker(directory / "kafka") as broker:
        broker.create_topic(TOPIC, PARTITIONS)
        fill_topic(broker, made)
        world.ready_meters(store)
        ours, resident = consume(store, broker)
        stored = store.rows("SELECT count() FROM events")[0][0]
    with world.store() as (store, _):
        world.ready_meters(store)
        theirs = straight(store, made)
    if stored != events:
        raise AssertionError(f"{stored} of {events} events were stored")
    return [
        f"{theirs / ours:.2f} of the straight insert's speed ({events} events, 5 meters with 2 group-bys); aim 0.7",
        f"{events / ours:,.0f} events/s from the topic; {events / theirs:,.0f} events/s straight",
        f"{resident >> 20} MiB more resident at most than before, ClickHouse's own memory included",
    ]


def fill_topic(broker: Kafka, made: Iterable[bytes], topic: str = TOPIC) -> None:
    """Produce events keyed by subject; returns when the broker has them all."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 50, "acks": "all", "log_level": 0})
    for value in made:
        subject = value[value.index(b'"subject":"') + 11 :].split(b'"', 1)[0]
        while True:
            try:
                producer.produce(topic, value, subject)
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush()


def consume(store: Store, broker: Kafka) -> tuple[float, int]:
    """Store all the topic holds; returns the seconds from the first record on, and the bytes of memory it took."""
    log = KafkaLog(KafkaSettings(brokers=broker.bootstrap, topic=TOPIC))
    consumer = Consumer(log, store, IngestSettings(), threading.Event())
    consumer.start()
    before, most = _resident(), 0
    began = 0.0
    while not began or log.waiting() or log.planned():
        had = log.waiting() > 0
        began = began or (time.perf_counter() if had else 0.0)
        consumer.step()
        most = max(most, _resident())
    seconds = time.perf_counter() - began
    log.close()
    return seconds, most - before


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096
