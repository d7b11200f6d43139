"""A store over HTTP, its one meter, and blocks of events whose rows are counted in all tables.

Owns: what the tests of such a store share. Each store has its own database.
"""

import itertools
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from engine.events.event import Event, event_block, event_key
from engine.instants import milliseconds, utc_now
from engine.meters.definition import parse_definition
from engine.meters.meter import Meter, MeterState
from engine.meters.rollups import GRAINS, create_rollup
from engine.store.clickhouse import Store
from engine.store.migrations import migrate
from engine.store.opening import open_store
from tests.harness.clickhouse import ClickHouse, server_settings

HANDLES = 12
TIMEOUT_SECONDS = 2
EARLY = datetime(1970, 1, 1, tzinfo=UTC)
_numbers = itertools.count()


def open_over_http(server: ClickHouse, data_dir: Path) -> Store:
    settings = server_settings(
        server.url,
        data_dir,
        database=f"over_http_{next(_numbers)}",
        handles=HANDLES,
        timeout_seconds=TIMEOUT_SECONDS,
    )
    opened = open_store(settings)
    migrate(opened, settings)
    return opened


def counting_meter(store: Store) -> Meter:
    definition = parse_definition({"slug": "m", "eventType": "call", "aggregation": "COUNT"})
    meter = Meter("1", 1, definition, MeterState.READY, "meter_m_00000000", EARLY, EARLY, EARLY, EARLY)
    create_rollup(store, meter)
    return meter


def block_of_events(number: int, rows: int = 100) -> pa.Table:
    now_ms = milliseconds(utc_now())
    ids = [f"{number}-{at}" for at in range(rows)]
    events = [
        Event(id_, "s", "call", "u", now_ms, b'{"v":1}', b"", now_ms, 0, number * rows + at, event_key("s", id_))
        for at, id_ in enumerate(ids)
    ]
    return event_block(events, now_ms)


def stored_rows(store: Store, meter: Meter) -> dict[str, int]:
    counts = {name: f"SELECT count() FROM {name}" for name in ("events", "event_keys")}
    counts |= {grain: f"SELECT toInt64(sum(n)) FROM {meter.table(grain)}" for grain in GRAINS}
    return {name: int(store.rows(statement)[0][0]) for name, statement in counts.items()}


def everywhere(count: int) -> dict[str, int]:
    return dict.fromkeys(["events", "event_keys", *GRAINS], count)
