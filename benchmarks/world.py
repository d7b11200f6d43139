"""What the benchmarks share: an embedded store with ready meters, and events like those of an API."""

import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from engine.config.loading import load_settings
from engine.config.settings import IngestSettings
from engine.meters.definition import parse_definition
from engine.meters.fill import Filler
from engine.meters.meter import Meter, MeterState
from engine.meters.registry import LEAD_MARGIN, MeterRegistry
from engine.store.clickhouse import Store
from engine.store.migrations import migrate
from engine.store.opening import open_store
from ingest.consumer import Consumer
from ingest.sqlite.log import SqliteLog
from tests.harness.no_ingest import NoIngest

MINUTE_MS = 60_000
START_MS = 1_764_547_200_000  # 2025-12-01
GROUPS = {"model": "$.model", "kind": "$.kind"}
METERS = [
    {"slug": "requests", "eventType": "prompt", "aggregation": "COUNT", "groupBy": GROUPS},
    {"slug": "tokens", "eventType": "prompt", "aggregation": "SUM", "valueProperty": "$.tokens", "groupBy": GROUPS},
    {"slug": "slowest", "eventType": "prompt", "aggregation": "MAX", "valueProperty": "$.ms", "groupBy": GROUPS},
    {"slug": "mean_ms", "eventType": "prompt", "aggregation": "AVG", "valueProperty": "$.ms", "groupBy": GROUPS},
    {"slug": "last_ms", "eventType": "prompt", "aggregation": "LATEST", "valueProperty": "$.ms", "groupBy": GROUPS},
]


def values(count: int, subjects: int = 100) -> list[bytes]:
    """Return `count` events over thirty days, in time order, as JSON."""
    step = 30 * 86_400_000 // count
    events = []
    for index in range(count):
        seconds, ms = divmod(START_MS + index * step, 1000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{ms:03d}Z"
        data = f'{{"tokens":{index % 997},"ms":{index % 1009}.25,"model":"m{index % 5}","kind":"k{index % 2}"}}'
        subject = f"customer-{index % subjects}"
        events.append(
            f'{{"specversion":"1.0","id":"{index}","source":"bench","type":"prompt","subject":"{subject}",'
            f'"time":"{stamp}","data":{data}}}'.encode()
        )
    return events


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yield an empty directory, which is deleted at the end."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@contextlib.contextmanager
def store() -> Iterator[tuple[Store, Path]]:
    """Yield an empty, migrated store and its directory."""
    with scratch() as directory:
        settings = load_settings(overrides={"data_dir": directory})
        opened = open_store(settings)
        migrate(opened, settings)
        yield opened, directory
        opened.close()


def ready_meters(opened: Store, count: int = len(METERS)) -> list[Meter]:
    """Create meters, and wait until each of them answers from its rollup."""
    registry = MeterRegistry(opened, lead=LEAD_MARGIN + timedelta(milliseconds=300))
    for body in METERS[:count]:
        registry.create(parse_definition(json.loads(json.dumps(body))))
    filler = Filler(opened, registry, NoIngest())
    while any(meter.state is not MeterState.READY for meter in registry.all()):
        filler.step()
        time.sleep(0.05)
    return registry.all()


def consume(opened: Store, directory: Path, events: list[bytes]) -> float:
    """Append events to an event log and store all of them. Return the seconds that storing took."""
    log = SqliteLog(directory / "bench.sqlite", 1 << 34)
    for start in range(0, len(events), 10_000):
        log.append(events[start : start + 10_000], START_MS + 40 * 86_400_000).result()
    consumer = Consumer(log, opened, IngestSettings(), threading.Event())
    consumer.start()
    began = time.perf_counter()
    while log.lag().records:
        consumer.step(wait_seconds=0)
    seconds = time.perf_counter() - began
    log.close()
    return seconds
