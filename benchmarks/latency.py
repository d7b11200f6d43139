"""From an event's append to an idle log until its usage is answered, against one insert of the same block alone.

One event at a time, half a second apart, five meters; the consumer runs as it does in `meterport serve`.
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
from engine.usage.answers import UsageQuery, check_query, query_json
from ingest.consumer import Consumer
from ingest.sqlite_log import SqliteLog

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
        visible = sorted(_visible(store, log, meter, at) for at in range(TRIES))
        stop.set()
        runner.join()
        log.close()
        alone = statistics.median(_insert(store, at) for at in range(TRIES))
    median = statistics.median(visible)
    return [
        f"{median / alone:.1f} inserts until one event is answered",
        f"{median * 1000:.0f} ms in the median, {visible[-1] * 1000:.0f} ms at most of {TRIES}; the aim is 200 ms",
    ]


def _visible(store: Store, log: SqliteLog, meter: Meter, at: int) -> float:
    time.sleep(PAUSE_SECONDS)
    query = check_query(dataclasses.replace(UsageQuery(), subjects=(f"latency-{at}",)), meter)
    began = time.perf_counter()
    log.append([_event(f"latency-{at}")], milliseconds(utc_now())).result()
    while query_json(store, meter, query).rows == b"[\n\n]":
        pass
    return time.perf_counter() - began


def _insert(store: Store, at: int) -> float:
    now = milliseconds(utc_now())
    block = event_block([decode_event(_event(f"alone-{at}"), now, 0, at, TimeSpan.of(IngestSettings()))], now)
    began = time.perf_counter()
    store.insert_block("events", block, f"alone-{at}")
    return time.perf_counter() - began


def _event(subject: str) -> bytes:
    return (
        f'{{"specversion":"1.0","id":"{subject}","source":"latency","type":"prompt","subject":"{subject}",'
        f'"data":{{"tokens":1,"ms":2,"model":"m","kind":"k"}}}}'
    ).encode()
