"""An event that arrives while a query is answered is counted in the right place, or not yet."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.config.settings import IngestSettings
from engine.events.cloudevents import TimeSpan, decode_event
from engine.events.event import event_block
from engine.instants import milliseconds, utc_now
from engine.meters.definition import parse_definition
from engine.meters.meter import Meter, MeterState
from engine.meters.rollups import create_rollup
from engine.store.clickhouse import Store
from engine.usage.answers import UsageQuery, query_json
from engine.usage.windows import WindowSize
from tests.harness.translation import rows

_EARLY = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture
def meter(store: Store) -> Meter:
    definition = parse_definition({"slug": "m", "eventType": "t", "aggregation": "COUNT"})
    meter = Meter("1", 1, definition, MeterState.READY, "meter_m_00000000", _EARLY, _EARLY, _EARLY, _EARLY)
    create_rollup(store, meter)
    return meter


@pytest.mark.parametrize("state", [MeterState.READY, MeterState.FILLING])
@pytest.mark.parametrize("size", [WindowSize.HOUR, WindowSize.DAY, WindowSize.MONTH])
@pytest.mark.parametrize("late", ["2025-11-03T12:00:00Z", "2026-03-05T12:00:00Z"])
def test_windows_are_right_for_an_event_outside_the_span_looked_up(
    store: Store, meter: Meter, monkeypatch: pytest.MonkeyPatch, state: MeterState, size: WindowSize, late: str
) -> None:
    _insert(store, 1, "2026-01-10T12:00:00Z")
    look_up = store.rows

    def then_an_event_arrives(statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        found = look_up(statement, **parameters)
        _insert(store, 2, late)
        return found

    monkeypatch.setattr(store, "rows", then_an_event_arrives)
    asked = dataclasses.replace(meter, state=state)
    query = UsageQuery(window_size=size, zone="America/New_York").resolved(asked)

    answer = rows(query_json(store, asked, query).rows)

    assert [row.value for row in answer] == [1]
    assert answer[0].window_start <= 1_768_046_400 * 10**9 < answer[0].window_end


def _insert(store: Store, offset: int, time: str) -> None:
    now = milliseconds(utc_now())
    value = f'{{"specversion":"1.0","id":"{offset}","source":"s","type":"t","subject":"u","time":"{time}"}}'.encode()
    event = decode_event(value, now, 0, offset, TimeSpan.of(IngestSettings()))
    store.insert_block("events", event_block([event], now), f"token-{offset}")
