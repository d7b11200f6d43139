"""Events of these tests in the store, meters that count them, and how they are listed."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from engine.config.settings import QuerySettings
from engine.events.cloudevents import TimeSpan, decode_event
from engine.events.event import event_block
from engine.events.listing import EventFilter, ListedEvent, list_events
from engine.meters.definition import parse_definition
from engine.meters.meter import Meter
from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import Store

NOON = datetime(2025, 3, 20, 12, tzinfo=UTC)
ARRIVED_MS = 1_742_472_000_500  # half a second after noon
STORED_MS = 1_742_472_001_000
ANY_TIME = TimeSpan(0, 10**12)


def envelope(id_: str = "e", data: str | None = None, **attributes: str) -> str:
    """Return a CloudEvent as JSON, with the exact text `data`."""
    core = {"id": id_, "source": "api", "type": "prompt", "subject": "customer-1", "specversion": "1.0"}
    text = json.dumps({**core, "time": "2025-03-20T12:00:00Z", **attributes})
    return text if data is None else f'{text[:-1]},"data":{data}}}'


def put(
    store: Store,
    events: Sequence[str],
    first_offset: int = 0,
    arrived_ms: int = ARRIVED_MS,
    stored_ms: int = STORED_MS,
) -> None:
    decoded = [
        decode_event(event.encode(), arrived_ms, 0, first_offset + at, ANY_TIME) for at, event in enumerate(events)
    ]
    store.insert_block("events", event_block(decoded, stored_ms), f"test:{first_offset}")


def listed(store: Store, registry: MeterRegistry, **filter_: object) -> list[ListedEvent]:
    return list_events(store, registry, EventFilter(**filter_), QuerySettings(), lambda: NOON)  # type: ignore[arg-type]


def meter(registry: MeterRegistry, slug: str, aggregation: str = "SUM", path: str = "$.v", **more: object) -> Meter:
    value = {} if aggregation == "COUNT" else {"valueProperty": path}
    body = {"slug": slug, "eventType": "prompt", "aggregation": aggregation, **value, **more}
    return registry.create(parse_definition(body))
