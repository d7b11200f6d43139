"""The texts of windows in rows: no text of an event is taken for their place, and they need little memory."""

import dataclasses
import json
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from engine.config.settings import IngestSettings
from engine.events.cloudevents import TimeSpan, decode_event
from engine.events.event import event_block
from engine.instants import milliseconds, utc_now
from engine.meters.definition import parse_definition
from engine.meters.meter import Meter, MeterState
from engine.meters.rollups import create_rollup
from engine.store.clickhouse import Store
from engine.usage.answers import Answer, UsageQuery, query_csv, query_json
from engine.usage.windows import WindowSize

_EARLY = datetime(1970, 1, 1, tzinfo=UTC)
TEXTS = ['"start":5', ',"start":5,"end":6', '\\"start\\":7', '{"value":1,"start":8}', "\n[0,1]", "start", "5"]


@pytest.mark.parametrize("size", [WindowSize.DAY, None])
@pytest.mark.parametrize("state", [MeterState.READY, MeterState.FILLING])
@pytest.mark.parametrize("one", [True, False], ids=["one subject", "all subjects"])
def test_texts_stay_as_they_are(store: Store, size: WindowSize | None, state: MeterState, one: bool) -> None:
    groups = {"start": "$.text", "end": "$.text"}
    definition = parse_definition({"slug": "m", "eventType": "t", "aggregation": "COUNT", "groupBy": groups})
    meter = Meter("1", 1, definition, state, "meter_m_00000000", _EARLY, _EARLY, _EARLY, _EARLY)
    create_rollup(store, meter)
    now = milliseconds(utc_now())
    events = [(TEXTS[0] if one else text.strip("\n"), text) for text in TEXTS]
    values = [_event(offset, subject, text) for offset, (subject, text) in enumerate(events)]
    decoded = [decode_event(each, now, 0, offset, TimeSpan.of(IngestSettings())) for offset, each in enumerate(values)]
    store.insert_block("events", event_block(decoded, now), "token")
    query = dataclasses.replace(
        UsageQuery(window_size=size, group_by=("subject", "start", "end")), subjects=(TEXTS[0],) if one else None
    ).resolved(meter)

    answer = json.loads(query_json(store, meter, query).rows)
    lines = query_csv(store, meter, query).rows.decode()

    assert {(row["subject"], row["groupBy"]["start"], row["groupBy"]["end"]) for row in answer} == {
        (subject, text, text) for subject, text in events
    }
    day = ("2026-01-10T00:00:00Z", "2026-01-11T00:00:00Z") if size else ("2026-01-10T12:00:00Z", "2026-01-10T12:01:00Z")
    assert {(row["windowStart"], row["windowEnd"]) for row in answer} == {day}
    assert lines.count(",".join(day)) == len(TEXTS)


def _event(offset: int, subject: str, text: str) -> bytes:
    event = {"specversion": "1.0", "id": str(offset), "source": "s", "type": "t", "subject": subject}
    return json.dumps({**event, "time": "2026-01-10T12:00:30Z", "data": {"text": text}}).encode()


@pytest.mark.parametrize("ask", [query_json, query_csv])
def test_an_answer_needs_little_more_memory_than_its_text(
    store: Store, ask: Callable[[Store, Meter, UsageQuery], Answer]
) -> None:
    """docs/settings.md, query.max_rows: the process holds the answer up to three times; a fourth time is its parts."""
    definition = parse_definition({"slug": "m", "eventType": "t", "aggregation": "COUNT"})
    meter = Meter("1", 1, definition, MeterState.READY, "meter_m_00000000", _EARLY, _EARLY, _EARLY, _EARLY)
    create_rollup(store, meter)
    columns = "concat('customer-', toString(number)), toDateTime(1768003200, 'UTC'), first, first, 1"
    numbers = "SELECT number, toDateTime(1768003200, 'UTC') AS first FROM numbers(30000)"
    store.command(f"INSERT INTO meter_m_00000000_day SELECT {columns} FROM ({numbers})")
    query = UsageQuery(window_size=WindowSize.DAY, group_by=("subject",)).resolved(meter)
    ask(store, meter, query)

    tracemalloc.start()
    try:
        answer = ask(store, meter, query)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert answer.rows.count(b"customer-") == 30_000
    assert most < 4 * len(answer.rows)
