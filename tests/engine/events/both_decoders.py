"""Both ways to decode events, each alone or all together, with one form of result to compare."""

from collections.abc import Sequence

from engine.errors import InvalidEvent
from engine.events.bulk_decoder import decode_events
from engine.events.cloudevents import TimeSpan, decode_event
from engine.events.event import Event, EventBatch
from tests.engine.events.one_event import SPAN

Result = tuple[list[Event], list[tuple[int, str, str | None]]]


def events_of(batch: EventBatch) -> list[Event]:
    columns = batch.columns.to_pydict()
    columns["time"] = batch.times_ms.tolist()
    columns["arrived_at"] = [round(at.timestamp() * 1000) for at in columns["arrived_at"]]
    for name in ("data", "extensions"):
        columns[name] = [text.encode() for text in columns[name]]
    return [Event(*row) for row in zip(*columns.values(), strict=True)]


def at_once(values: Sequence[bytes], arrived: Sequence[int], span: TimeSpan = SPAN) -> Result:
    count = len(values)
    decoded = decode_events(values, arrived, [at % 3 for at in range(count)], range(100, 100 + count), span)
    events = events_of(decoded.events)
    assert [event.offset - 100 for event in events] == decoded.indexes.tolist()
    return events, [(at, str(error), error.field) for at, error in decoded.refused]


def one_by_one(values: Sequence[bytes], arrived: Sequence[int], span: TimeSpan = SPAN) -> Result:
    events, refused = [], []
    for at, value in enumerate(values):
        try:
            events.append(decode_event(value, arrived[at], at % 3, 100 + at, span))
        except InvalidEvent as error:
            refused.append((at, str(error), error.field))
    return events, refused
