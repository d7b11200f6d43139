"""Queries of a portal (such as a month of one subject by day), from the rollup and from the raw events."""

import dataclasses
import statistics
import time

from benchmarks import world
from engine.instants import parse_instant
from engine.meters.meter import Meter, MeterState
from engine.store.clickhouse import Store
from engine.usage.answers import UsageQuery, query_json
from engine.usage.windows import WindowSize

TRIES = 15
MONTH = UsageQuery(
    from_=parse_instant("2025-12-01T00:00:00-05:00"),
    to=parse_instant("2025-12-30T00:00:00-05:00"),
    window_size=WindowSize.DAY,
    zone="America/New_York",
)
QUERIES = {
    "a month of days in New York": MONTH,
    "the same by model": dataclasses.replace(MONTH, group_by=("model",)),
    "a total at odd bounds": UsageQuery(
        from_=parse_instant("2025-12-03T04:05:06.789Z"), to=parse_instant("2025-12-27T18:17:16.151Z")
    ),
}


def run(events: int) -> list[str]:
    """Run each query from the rollup and from the events, and return the lines to print."""
    lines = []
    with world.store() as (store, directory):
        meter = world.ready_meters(store, 2)[1]
        world.consume(store, directory, world.values(events))
        for name, unfiltered in QUERIES.items():
            query = dataclasses.replace(unfiltered, subjects=("customer-7",))
            rollup = _median_ms(store, meter, query)
            raw = _median_ms(store, dataclasses.replace(meter, state=MeterState.FILLING), query)
            lines.append(f"{raw / rollup:.1f} times faster than from {events} raw events: {name} ({rollup:.1f} ms)")
    return lines


def _median_ms(store: Store, meter: Meter, query: UsageQuery) -> float:
    checked = query.resolved(meter)
    seconds = []
    for _ in range(TRIES):
        began = time.perf_counter()
        query_json(store, meter, checked)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1000
