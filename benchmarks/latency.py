"""The time from appending an event to an idle log until a query counts it, compared with one insert of the same block.

One event at a time, half a second apart, into five meters. The consumer runs as in `meterport serve`.
"""

import dataclasses
import statistics
import threading
import time

from benchmarks import world
from engine.config.settings import IngestSettings
from engine.events.cloudevents import TimeSpan, decode_event
from engine.events.event import event_block
from engine.instants import milliseconds, utc_now
from engine.meters.meter import Meter
from engine.store.clickhouse import Store
from engine.usage.answers import UsageQuery, query_json
from ingest.consumer import Consumer
from ingest.sqlite.log import SqliteLog

TRIES = 40
PAUSE_SECONDS = 0.5


def run(events: int) -> list[str]:
    """Measure on a store that holds `events` and return the lines to print."""
    with world.store() as (store, directory):
        meter = world.ready_meters(store)[0]
        world.consume(store, directory, world.values(events))
        log = SqliteLog(directory / "latency.sqlite", 1 << 30)
        stop = threading.Event()
        consumer = Consumer(log, store, IngestSettings(), stop)
        runner = threading.Thread(target=consumer.run)
        runner.start()
        visible = sorted(_visible(store, log, meter, number) for number in range(TRIES))
        stop.set()
        runner.join()
        log.close()
        insert = statistics.median(_insert(store, number) for number in range(TRIES))
    median = statistics.median(visible)
    return [
        f"{median / insert:.1f} times one insert until an event is counted",
        f"{median * 1000:.0f} ms median, {visible[-1] * 1000:.0f} ms maximum of {TRIES} events; the aim is 200 ms",
    ]


def _visible(store: Store, log: SqliteLog, meter: Meter, number: int) -> float:
    time.sleep(PAUSE_SECONDS)
    query = dataclasses.replace(UsageQuery(), subjects=(f"latency-{number}",)).resolved(meter)
    began = time.perf_counter()
    log.append([_event(f"latency-{number}")], milliseconds(utc_now())).result()
    while query_json(store, meter, query).rows == b"[\n\n]":
        pass
    return time.perf_counter() - began


def _insert(store: Store, number: int) -> float:
    now = milliseconds(utc_now())
    block = event_block([decode_event(_event(f"alone-{number}"), now, 0, number, TimeSpan.of(IngestSettings()))], now)
    began = time.perf_counter()
    store.insert_block("events", block, f"alone-{number}")
    return time.perf_counter() - began


def _event(subject: str) -> bytes:
    return (
        f'{{"specversion":"1.0","id":"{subject}","source":"latency","type":"prompt","subject":"{subject}",'
        f'"data":{{"tokens":1,"ms":2,"model":"m","kind":"k"}}}}'
    ).encode()
