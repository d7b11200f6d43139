"""All parts of one metering process, driven step by step, and the meters, events and queries of the tests of a fill.

Log, consumer, registry and filler are real; only the clock is the tests' own.
"""

import dataclasses
import random
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.config.settings import IngestSettings
from engine.instants import milliseconds, utc_now
from engine.meters.fill import Filler
from engine.meters.meter import Meter, MeterState
from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import Store
from engine.usage.answers import query_json
from engine.usage.grains import Grain
from ingest.consumer import Consumer
from ingest.fill_barrier import FillBarrier
from ingest.sqlite.log import SqliteLog
from tests.harness import oracle
from tests.harness.translation import cloudevent, definition, rows, usage_query

TOKENS = oracle.Meter("tokens", "call", "SUM", "$.tokens", {"model": "$.model"})
MODELS = oracle.Meter("models", "call", "UNIQUE_COUNT", "$.model")
LAST = oracle.Meter("last", "call", "LATEST", "$.tokens", {"model": "$.model"})
QUESTIONS = (
    oracle.Query(window_size="MINUTE", group_by=("subject", "model")),
    oracle.Query(window_size="DAY", zone="America/New_York", group_by=("subject",)),
    oracle.Query(),
)


class Metering:
    """All parts of one metering process, driven step by step."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store = store
        self.now = utc_now()
        self.fold = oracle.Fold()
        self._directory = directory
        self.start()

    def start(self) -> None:
        """Do what a process does that has just started."""
        self.log = SqliteLog(self._directory / "log.sqlite", 1 << 30)
        self.registry = MeterRegistry(self.store, self.clock)
        stop = threading.Event()
        self.consumer = Consumer(self.log, self.store, IngestSettings(), stop, self.clock)
        self.consumer.start()

    def restart(self) -> None:
        self.log.close()
        self.start()

    def clock(self) -> datetime:
        return self.now

    def filler(self, segment_events: int = 500_000) -> Filler:
        settling = FillBarrier(self.consumer.unresolved, self.consumer.claims)
        return Filler(self.store, self.registry, settling, self.clock, segment_events)

    def append(self, events: Sequence[oracle.Event]) -> None:
        self.log.append([cloudevent(event) for event in events], milliseconds(self.now)).result()
        for event in events:
            self.fold.add(event)

    def take(self, events: Sequence[oracle.Event]) -> None:
        """Append events to the log, and store them as one batch."""
        self.append(events)
        self.drain()

    def drain(self) -> None:
        while self.log.lag().records:
            self.consumer.step()

    def pass_time(self, seconds: float = 5) -> None:
        self.now += timedelta(seconds=seconds)

    def create(self, meter: oracle.Meter) -> Meter:
        return self.registry.create(definition(meter))

    def state(self, meter: oracle.Meter) -> MeterState:
        return self.registry.find(meter.slug).state

    def check(self, meter: oracle.Meter) -> set[Grain]:
        """Compare the answers to a few queries with the fold. Return the grains that gave the answers."""
        stored, grains = self.registry.find(meter.slug), set[Grain]()
        for query in QUESTIONS:
            asked = query if meter.group_by else dataclasses.replace(query, group_by=())
            answer = query_json(self.store, stored, usage_query(asked).resolved(stored))
            assert rows(answer.rows) == self.fold.usage(meter, asked), (stored.state, query)
            grains |= set(answer.grains)
        return grains


@pytest.fixture
def metering(store: Store, tmp_path: Path) -> Iterator[Metering]:
    metering = Metering(store, tmp_path)
    yield metering
    metering.log.close()


def events(first: int, count: int, days: int = 3) -> list[oracle.Event]:
    """Return events over some days, some with unusual values, fixed by their numbers."""
    chance = random.Random(first)  # noqa: S311 - reproducible, not secret
    made = []
    for number in range(first, first + count):
        second = 1_761_980_000 + chance.randrange(days * 86_400)
        at = f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{chance.randrange(1000):03d}Z"
        value = chance.choice(["1", "2.5", '"0.1"', "-3", "null", '"abc"', "1e3", "12345678901234567890"])
        data = f'{{"tokens":{value},"model":"m{chance.randrange(4)}"}}'
        made.append(oracle.Event(f"e{number}", "s", "call", f"u{chance.randrange(5)}", at, data))
    return made
