"""The validation error of a listed event says for each meter why the event did not count."""

import json
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from engine.config.settings import QuerySettings
from engine.events.listing import EventFilter, list_events
from engine.instants import milliseconds, utc_now
from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import Store
from tests.engine.events.listed_events import envelope, listed, meter, put
from tests.harness.long_form import LONG
from tests.harness.strategies import VALUE_PATHS, WILDCARD_PATHS, data_texts

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (None, "null and missing value property"),
        ("null", "null and missing value property"),
        ("{}", 'missing value property: "$.v"'),
        ('{"V":1}', 'missing value property: "$.v"'),
        ('{"v":null}', "value cannot be null"),
        ('{"v":"null"}', "value cannot be parsed as float64: null"),
        ('{"v":true}', "unsupported value property type: bool"),
        ('{"v":false}', "unsupported value property type: bool"),
        ('{"v":"true"}', "value cannot be parsed as float64: true"),
        ('{"v":{"v":1}}', "unsupported value property type: map[string]interface {}"),
        ('{"v":[1]}', "unsupported value property type: []interface {}"),
        ('{"v":""}', "value cannot be parsed as float64: "),
        ('{"v":" 1"}', "value cannot be parsed as float64:  1"),
        ('{"v":"1\\n2\\u0000"}', "value cannot be parsed as float64: 1\\u000a2\\u0000"),
        ('{"v":"e5"}', "value cannot be parsed as float64: e5"),
        ('{"v":"NaN"}', "value cannot be NaN"),
        ('{"v":"nan"}', "value cannot be NaN"),
        ('{"v":"Infinity"}', "value cannot be infinity"),
        ('{"v":"-inf"}', "value cannot be infinity"),
        ('{"v":"infinit"}', "value cannot be parsed as float64: infinit"),
        ('{"v":"%s"}' % ("ü" * 201), "value cannot be parsed as float64: " + "ü" * 200 + "…"),
        ('{"v":"%s"}' % ("ü" * 200), "value cannot be parsed as float64: " + "ü" * 200),
        ('{"v":"1e-400"}', "value has more digits than are kept: 1e-400"),
        ('{"v":"0.00000000000000000001"}', "value has more digits than are kept: 0.00000000000000000001"),
        ('{"v":"1e38"}', "value has more digits than are kept: 1e38"),
        ('{"v":%s}' % ("9" * 39), "value has more digits than are kept: " + "9" * 39),
        ('{"v":1}', None),
        ('{"v":"+1."}', None),
        ('{"v":1e3}', None),
        ('{"v":%s}' % ("9" * 38), None),
        ('{"v":"0.0000000000000000001000"}', None),
    ],
)  # fmt: skip
def test_a_value_that_did_not_count_is_told_why(
    store: Store, registry: MeterRegistry, data: str | None, error: str | None
) -> None:
    meter(registry, "tokens_total")
    put(store, [envelope(data=data)])

    [event] = listed(store, registry)

    assert event.validation_error == (error and f"invalid event: {error}")


@pytest.mark.parametrize(
    ("path", "data", "error"),
    [
        ("$.a[*].v", '{"a":[{"v":{}},{"v":"x"}]}', "value cannot be parsed as float64: x"),
        ("$.a[*].v", '{"a":[{"v":[]},{"v":null}]}', "value cannot be null"),
        ("$.a[*].v", '{"a":[{"v":{}},{"v":[1]}]}', "unsupported value property type: map[string]interface {}"),
        ("$.a[*].v", '{"a":[{},{}]}', 'missing value property: "$.a[*].v"'),
        ("$.a[*].v", '{"a":[{"v":{}},{"v":7}]}', None),
        ("$['a b']", '{"a b":"x"}', "value cannot be parsed as float64: x"),
        ('$."it\'s"', '{"it\'s":null}', "value cannot be null"),
        ("$", '{"v":1}', "unsupported value property type: map[string]interface {}"),
    ],
)
def test_the_first_scalar_a_path_matches_is_the_one_that_is_judged(
    store: Store, registry: MeterRegistry, path: str, data: str, error: str | None
) -> None:
    meter(registry, "tokens_total", path=path)
    put(store, [envelope(data=data)])

    [event] = listed(store, registry)

    assert event.validation_error == (error and f"invalid event: {error}")


def test_each_meter_of_the_type_has_its_line_and_those_that_counted_have_none(
    store: Store, registry: MeterRegistry
) -> None:
    for aggregation in ("SUM", "AVG", "MIN", "MAX", "LATEST", "COUNT", "UNIQUE_COUNT"):
        meter(registry, aggregation.lower(), aggregation, path=f"$.{aggregation}")
    meter(registry, "other", "SUM", path="$.v", eventType="other")
    registry.delete(meter(registry, "gone", "SUM", path="$.gone").id)
    put(store, [envelope(data='{"SUM":1,"MIN":"x","LATEST":null}')])

    [event] = listed(store, registry)

    assert event.validation_error == (
        'invalid event: missing value property: "$.AVG"\n'
        "invalid event: value cannot be parsed as float64: x\n"
        'invalid event: missing value property: "$.MAX"\n'
        "invalid event: value cannot be null"
    )


def test_counts_take_every_event(store: Store, registry: MeterRegistry) -> None:
    meter(registry, "requests", "COUNT")
    meter(registry, "models", "UNIQUE_COUNT")
    put(store, [envelope("a"), envelope("b", data="null"), envelope("c", data='{"v":null}')])

    assert [event.validation_error for event in listed(store, registry)] == [None, None, None]


def test_types_on_one_page_are_judged_each_by_their_meters(store: Store, registry: MeterRegistry) -> None:
    meter(registry, "tokens_total")
    meter(registry, "seconds", path="$.s", eventType="call")
    put(
        store,
        [
            envelope("a", data='{"v":1}'),
            envelope("b", data='{"v":1}', type="call"),
            envelope("c", data='{"v":1}', type="ping's"),
        ],
    )

    assert {json.loads(event.event)["id"]: event.validation_error for event in listed(store, registry)} == {
        "a": None,
        "b": 'invalid event: missing value property: "$.s"',
        "c": "no meter found for event type: ping's",
    }


def test_an_event_before_the_meters_beginning_is_none_of_its_business(store: Store, registry: MeterRegistry) -> None:
    meter(registry, "tokens_total", eventFrom="2025-03-20T11:00:00.0005Z")
    put(store, [envelope("a", time="2025-03-20T11:00:00.000Z"), envelope("b", time="2025-03-20T11:00:00.001Z")])

    assert [(json.loads(event.event)["id"], event.validation_error) for event in listed(store, registry)] == [
        ("b", "invalid event: null and missing value property"),
        ("a", None),
    ]


@given(data=st.lists(data_texts(), min_size=1, max_size=100))
@effort(
    max_examples=50 if LONG else 8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_an_event_has_an_error_for_exactly_the_meters_whose_rollup_lacks_it(store: Store, data: list[str]) -> None:
    now = utc_now()
    registry = MeterRegistry(store, lead=timedelta(seconds=60))
    paths = (*VALUE_PATHS, *WILDCARD_PATHS)
    meters = registry.all() or [meter(registry, f"meter_{at}", path=path) for at, path in enumerate(paths)]
    for table in ("events", *(each.table("minute") for each in meters)):
        store.command(f"TRUNCATE TABLE {table}")
    after_the_lead = milliseconds(now) + 120_000
    events = [envelope(f"{at}", text, subject=f"{at}", time=now.isoformat()) for at, text in enumerate(data)]
    put(store, events, first_offset=milliseconds(now) * 1000, arrived_ms=after_the_lead, stored_ms=after_the_lead)

    page = list_events(store, registry, EventFilter(limit=100), QuerySettings())

    missing = {f"{at}": len(meters) for at in range(len(data))}
    for each in meters:
        for (subject,) in store.rows(f"SELECT DISTINCT subject FROM {each.table('minute')} WHERE valued > 0"):
            missing[subject] -= 1
    errors = {json.loads(event.event)["id"]: event.validation_error for event in page}
    assert {id_: len(error.split("\n")) if error else 0 for id_, error in errors.items()} == missing
