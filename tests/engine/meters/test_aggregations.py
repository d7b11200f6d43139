"""The result of each aggregation for unusual values, written out. Rollup and events must give the same.

Contract 4.1, 4.2, D.17: the text at the path decides. A value is a number if its whole text is a number.
"""

import dataclasses
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from engine.config.settings import IngestSettings
from engine.events.cloudevents import TimeSpan, decode_event
from engine.events.event import event_block
from engine.instants import milliseconds, utc_now
from engine.meters.aggregations import AGGREGATIONS, Aggregation
from engine.meters.definition import parse_definition
from engine.meters.meter import Meter, MeterState
from engine.meters.rollups import create_rollup
from engine.store.clickhouse import Store
from engine.usage.answers import UsageQuery, query_json
from tests.harness.translation import rows

_EARLY = datetime(1970, 1, 1, tzinfo=UTC)
ODD = ['{"v":1}', '{"v":2}', '{"v":null}', "{}", "", '{"v":"abc"}', '{"v":true}', '{"v":"1"}']
EXACT = ['{"v":0.1}', '{"v":0.2}', '{"v":"123456789012345678.0123456789012345678"}', '{"v":-123456789012345678}']
INVALID = ['{"v":"1e400"}', '{"v":"1e-400"}', '{"v":" 1"}', '{"v":"0x10"}', '{"v":[1]}', '{"v":{"a":1}}', '{"v":"."}']
HUGE = ['{"v":99999999999999999999999999999999999999}'] * 3
TENTHS = ['{"v":0.1}'] * 1000


@pytest.mark.parametrize(
    ("aggregation", "datas", "value"),
    [
        ("COUNT", ODD, "8"),
        ("UNIQUE_COUNT", ODD, "5"),
        ("SUM", ODD, "4"),
        ("AVG", ODD, "1.3333333333333333333"),
        ("MIN", ODD, "1"),
        ("MAX", ODD, "2"),
        ("LATEST", ODD, "1"),
        ("SUM", EXACT, "0.3123456789012345678"),
        ("MAX", EXACT, "123456789012345678.0123456789012345678"),
        ("MIN", EXACT, "-123456789012345678"),
        ("COUNT", INVALID, "7"),
        ("UNIQUE_COUNT", INVALID, "6"),
        ("SUM", INVALID, None),
        ("AVG", INVALID, None),
        ("MIN", INVALID, None),
        ("MAX", INVALID, None),
        ("LATEST", INVALID, None),
        ("SUM", HUGE, "299999999999999999999999999999999999997"),
        ("AVG", HUGE, "99999999999999999999999999999999999999"),
        ("SUM", TENTHS, "100"),
        ("AVG", TENTHS, "0.1"),
        ("UNIQUE_COUNT", ['{"v":null}'] * 3, "0"),
        ("UNIQUE_COUNT", ['{"v":"null"}', '{"v":""}', "{}"], "1"),
    ],
)
def test_a_value_is_exact_or_does_not_count(
    store: Store, aggregation: str, datas: list[str], value: str | None
) -> None:
    meter = _meter(aggregation)
    create_rollup(store, meter)

    _store(store, datas)

    for state in (MeterState.READY, MeterState.FILLING):
        asked = dataclasses.replace(meter, state=state)
        answer = query_json(store, asked, UsageQuery().resolved(asked))
        assert [row.value for row in rows(answer.rows)] == ([] if value is None else [Decimal(value)]), state


def test_every_aggregation_has_a_line_above() -> None:
    (parameters,) = test_a_value_is_exact_or_does_not_count.pytestmark  # type: ignore[attr-defined]

    assert {Aggregation(case[0]) for case in parameters.args[1]} == set(AGGREGATIONS)


def _meter(aggregation: str) -> Meter:
    body = {"slug": "m", "eventType": "t", "aggregation": aggregation}
    definition = parse_definition(body if aggregation == "COUNT" else body | {"valueProperty": "$.v"})
    return Meter("1", 1, definition, MeterState.READY, "meter_m_00000000", _EARLY, _EARLY, _EARLY, _EARLY)


def _store(store: Store, datas: list[str]) -> None:
    now = milliseconds(utc_now())
    events = [
        decode_event(
            f'{{"specversion":"1.0","id":"{at}","source":"s","type":"t","subject":"u",'
            f'"time":"2026-01-01T00:00:00Z"{_member(data)}}}'.encode(),
            now, 0, at, TimeSpan.of(IngestSettings()),
        )
        for at, data in enumerate(datas)
    ]  # fmt: skip
    store.insert_block("events", event_block(events, now), "token")


def _member(data: str) -> str:
    return f',"data":{data}' if data else ""
