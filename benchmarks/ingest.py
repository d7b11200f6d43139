"""From the log into five meters with group-bys, exactly once and deduplicated, against the same JSON put straight in.

The straight way has no log, no duplicate check, no plan: `INSERT INTO events … FORMAT JSONEachRow` into the same chain.
"""

import json
import time

from benchmarks import world
from engine.store.clickhouse import Store

BLOCK = 100_000


def run(events: int) -> list[str]:
    """Measure both ways over the same events and return the lines to print."""
    made = world.values(events)
    with world.store() as (store, directory):
        world.ready_meters(store)
        ours = world.consume(store, directory, made)
    with world.store() as (store, _):
        world.ready_meters(store)
        theirs = straight(store, made)
    return [
        f"{theirs / ours:.2f} of the straight insert's speed ({events} events, 5 meters with 2 group-bys)",
        f"{events / ours:,.0f} events/s from the log; {events / theirs:,.0f} events/s straight",
    ]


def straight(store: Store, made: list[bytes]) -> float:
    """Insert events with no log before the tables; returns the seconds inserting took."""
    now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() + 1))  # past every meter's visible_from
    lines = []
    for at, value in enumerate(made):
        event = json.loads(value)
        data = value[value.index(b'"data":') + 7 : -1].decode()
        event |= {"data": data, "time": event["time"][:-1].replace("T", " "), "log_offset": at, "stored_at": now}
        del event["specversion"]
        lines.append(json.dumps(event).encode())
    blocks = [b"\n".join(lines[start : start + BLOCK]) for start in range(0, len(lines), BLOCK)]
    began = time.perf_counter()
    for at, block in enumerate(blocks):
        store.insert_formatted("events", block, "JSONEachRow", f"straight-{at}")
    return time.perf_counter() - began
