"""Ingest from the event log into five meters with group-bys, compared with inserting the same JSON directly.

Ingest is exactly-once and removes duplicates. The direct insert has no event log, no duplicate check and no plan: it is
`INSERT INTO events … FORMAT JSONEachRow` into the same tables and views.
"""

import json
import time

from benchmarks import world
from engine.store.clickhouse import Store

BLOCK = 100_000


def run(events: int) -> list[str]:
    """Measure both ways over the same events and return the lines to print."""
    values = world.values(events)
    with world.store() as (store, directory):
        world.ready_meters(store)
        ingest = world.consume(store, directory, values)
    with world.store() as (store, _):
        world.ready_meters(store)
        direct = insert_directly(store, values)
    return [
        f"{direct / ingest:.2f} of the direct insert's speed ({events} events, 5 meters with 2 group-bys)",
        f"{events / ingest:,.0f} events/s from the log; {events / direct:,.0f} events/s directly",
    ]


def insert_directly(store: Store, values: list[bytes]) -> float:
    """Insert events without an event log. Return the seconds that the inserts took."""
    now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() + 1))  # after the visible_from of all meters
    lines = []
    for index, value in enumerate(values):
        event = json.loads(value)
        data = value[value.index(b'"data":') + 7 : -1].decode()
        event |= {"data": data, "time": event["time"][:-1].replace("T", " "), "log_offset": index, "stored_at": now}
        del event["specversion"]
        lines.append(json.dumps(event).encode())
    blocks = [b"\n".join(lines[start : start + BLOCK]) for start in range(0, len(lines), BLOCK)]
    began = time.perf_counter()
    for index, block in enumerate(blocks):
        store.insert_formatted("events", block, "JSONEachRow", f"direct-{index}")
    return time.perf_counter() - began
