"""A process with its log in memory, which a test kills in the middle of an insert, and what the store contains then."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine.config.settings import IngestSettings
from engine.instants import Clock, milliseconds, utc_now
from engine.meters.fill import Filler
from engine.meters.meter import MeterState
from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import Store
from engine.usage.answers import UsageQuery, query_json
from ingest.consumer import Consumer
from ingest.fill_barrier import FillBarrier
from tests.harness.memory_log import MemoryLog, MemoryTopic


class Killed(BaseException):
    """The process ends here, after what it has done so far."""


class Process:
    """A process that consumes some partitions until it ends or dies."""

    def __init__(self, store: Store, topic: MemoryTopic, *partitions: int, clock: Clock = utc_now) -> None:
        self.log = MemoryLog(topic, partitions)
        self.consumer = Consumer(self.log, store, IngestSettings(), threading.Event(), clock)
        self.registry = MeterRegistry(store, clock)
        self.filler = Filler(store, self.registry, FillBarrier(self.consumer.unresolved, self.consumer.claims), clock)

    def start(self) -> "Process":
        self.consumer.start()
        return self

    def drain(self) -> None:
        while self.consumer.step(0):
            pass


@contextmanager
def killed_in_an_insert(store: Store, *without: str) -> Iterator[None]:
    """Let the next insert into `events` skip the tables of the views `without`, and then kill the process."""
    insert = store.insert_block

    def insert_half(table: str, *arguments: Any) -> None:
        if table != "events":
            insert(table, *arguments)
            return
        for view in without:
            store.command(f"DETACH TABLE {view} SYNC")
        try:
            insert(table, *arguments)
        finally:
            for view in without:
                store.command(f"ATTACH TABLE {view}")
        raise Killed

    store.insert_block = insert_half  # type: ignore[method-assign,assignment]
    try:
        yield
    except Killed:
        pass
    finally:
        store.insert_block = insert  # type: ignore[method-assign]


def event(id_: str, type_: str = "call") -> bytes:
    return f'{{"specversion":"1.0","id":"{id_}","source":"s","type":"{type_}","subject":"u"}}'.encode()


def append(topic: MemoryTopic, partition: int, *ids: str) -> None:
    topic.append(partition, *map(event, ids), arrived_ms=milliseconds(utc_now()))


def counts(store: Store, *tables: str) -> list[int]:
    return [int(store.rows(f"SELECT count() FROM {table}")[0][0]) for table in tables or ("events", "event_keys")]


def half_insert(store: Store, topic: MemoryTopic, *ids: str) -> None:
    """Leave a plan on partition 0 whose block is in `events` and not in `event_keys`."""
    append(topic, 0, *ids)
    dead = Process(store, topic, 0, 1).start()
    with killed_in_an_insert(store, "event_keys_view"):
        dead.drain()
    assert counts(store) == [len(ids), 0]
    assert len(topic.plans) == 1


def usage_of(store: Store, process: Process, slug: str) -> tuple[MeterState, int]:
    """Return the state of a meter and its total."""
    meter = process.registry.find(slug)
    rows = json.loads(query_json(store, meter, UsageQuery().resolved(meter)).rows)
    return meter.state, int(rows[0]["value"]) if rows else 0
