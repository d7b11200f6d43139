"""Listings of events and dead letters: order, filters, pages, and why an event did not count."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from engine.config.settings import QuerySettings
from engine.dead_letters.listing import list_dead_letters
from engine.errors import InvalidRequest
from engine.events.cloudevents import TimeSpan, decode_event
from engine.events.event import event_block
from engine.events.listing import EventFilter, ListedEvent, list_events, to_json
from engine.instants import milliseconds, parse_instant, utc_now
from engine.log_position import LogPosition, parse_cursor
from engine.meters.definition import parse_definition
from engine.meters.meter import Meter
from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import Store
from tests.harness.long_form import LONG
from tests.harness.strategies import VALUE_PATHS, WILDCARD_PATHS, data_texts

pytestmark = pytest.mark.thorough

NOON = datetime(2025, 3, 20, 12, tzinfo=UTC)
ARRIVED_MS = 1_742_472_000_500  # half a second after noon
STORED_MS = 1_742_472_001_000
ANY_TIME = TimeSpan(0, 10**12)


@pytest.fixture
def registry(store: Store) -> MeterRegistry:
    return MeterRegistry(store)


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


def ids(events: Sequence[ListedEvent]) -> list[str]:
    return [json.loads(event.event)["id"] for event in events]


def meter(registry: MeterRegistry, slug: str, aggregation: str = "SUM", path: str = "$.v", **more: object) -> Meter:
    value = {} if aggregation == "COUNT" else {"valueProperty": path}
    body = {"slug": slug, "eventType": "prompt", "aggregation": aggregation, **value, **more}
    return registry.create(parse_definition(body))


# --- what an event looks like -----------------------------------------------------------------------------------------


def test_an_event_comes_out_as_it_was_sent_byte_for_byte(store: Store, registry: MeterRegistry) -> None:
    data = '{ "v" : 1.50e+00,\n\t"v":12345678901234567890123 ,"s":"\\u00fc ü \\/ <>&\\u2028 😀","n":null}'
    put(store, [envelope("é-1", data, source="/a?b=c&d", subject="Kundin ü", time="2025-03-20T12:00:00.120+01:00")])
    meter(registry, "requests", "COUNT")

    [event] = listed(store, registry)

    assert to_json(event).decode() == (
        '{"event":{"id":"é-1","source":"/a?b=c&d","type":"prompt","subject":"Kundin ü",'
        '"time":"2025-03-20T11:00:00.12Z","specversion":"1.0","data":' + data + "},"
        '"ingestedAt":"2025-03-20T12:00:00.5Z","storedAt":"2025-03-20T12:00:01Z"}'
    )


@pytest.mark.parametrize(
    ("sent", "members"),
    [
        (envelope(), {}),
        (envelope(data="null"), {"data": None}),
        (envelope(data="{}"), {"data": {}}),
        (
            envelope(data='{"v":1}', datacontenttype="application/json", traceparent="00-ab", dataschema="urn:x"),
            {
                "data": {"v": 1},
                "datacontenttype": "application/json",
                "traceparent": "00-ab",
                "dataschema": "urn:x",
            },
        ),
    ],
    ids=["no data", "null data", "empty data", "extensions"],
)
def test_absent_data_stays_absent_and_extensions_are_kept(
    store: Store, registry: MeterRegistry, sent: str, members: dict[str, object]
) -> None:
    put(store, [sent])

    [event] = listed(store, registry)

    assert json.loads(event.event) == {
        "id": "e",
        "source": "api",
        "type": "prompt",
        "subject": "customer-1",
        "time": "2025-03-20T12:00:00Z",
        "specversion": "1.0",
        **members,
    }


def test_an_error_stands_between_the_event_and_its_times(store: Store, registry: MeterRegistry) -> None:
    put(store, [envelope()])

    [event] = listed(store, registry)

    assert to_json(event) == (
        b'{"event":{"id":"e","source":"api","type":"prompt","subject":"customer-1","time":"2025-03-20T12:00:00Z",'
        b'"specversion":"1.0"},"validationError":"no meter found for event type: prompt",'
        b'"ingestedAt":"2025-03-20T12:00:00.5Z","storedAt":"2025-03-20T12:00:01Z"}'
    )


# --- which events, in which order -------------------------------------------------------------------------------------


def test_the_latest_time_comes_first_then_the_later_position_in_the_log(store: Store, registry: MeterRegistry) -> None:
    put(
        store,
        [
            envelope("a", time="2025-03-20T11:00:00Z"),
            envelope("b", time="2025-03-20T11:59:59.999Z", type="other"),
            envelope("c", time="2025-03-20T11:59:59.999Z", subject="customer-0"),
            envelope("d", time="2025-03-01T00:00:00Z"),
            envelope("e", time="2025-03-20T12:30:00Z"),
        ],
    )

    assert ids(listed(store, registry)) == ["e", "c", "b", "a", "d"]
    assert ids(listed(store, registry, limit=2)) == ["e", "c"]


def test_from_is_inclusive_to_is_exclusive_and_both_are_compared_as_given(
    store: Store, registry: MeterRegistry
) -> None:
    put(store, [envelope(f"{ms}", time=f"2025-03-20T11:00:00.{ms}Z") for ms in ("000", "001", "002")])

    def between(from_: str, to: str) -> list[str]:
        return ids(listed(store, registry, from_=parse_instant(from_), to=parse_instant(to)))

    assert between("2025-03-20T11:00:00Z", "2025-03-20T11:00:00.002Z") == ["001", "000"]
    assert between("2025-03-20T11:00:00.000000001Z", "2025-03-20T11:00:00.002000001Z") == ["002", "001"]
    assert between("2025-03-20T12:00:00+01:00", "2025-03-20T12:00:00.001+01:00") == ["000"]
    assert between("2025-03-20T11:00:00Z", "9999-12-31T23:59:59Z") == ["002", "001", "000"]


def test_without_from_the_last_32_days_are_listed(store: Store, registry: MeterRegistry) -> None:
    put(store, [envelope("in", time="2025-02-16T12:00:00Z"), envelope("out", time="2025-02-16T11:59:59.999Z")])

    assert ids(listed(store, registry)) == ["in"]
    assert ids(listed(store, registry, from_=parse_instant("2025-02-16T12:00:00Z"))) == ["in"]


@pytest.mark.parametrize(
    ("filter_", "message"),
    [
        ({"from_": "2025-02-16T11:59:59.999Z"}, "from date is too old: events are listed 32 days back"),
        ({"from_": "2025-03-20T11:00:00Z", "to": "2025-03-20T11:00:00Z"}, "from must be before to"),
        (
            {"ingested_from": "2025-03-20T11:00:00Z", "ingested_to": "2025-03-20T10:00:00Z"},
            "ingestedAtFrom must be before ingestedAtTo",
        ),
    ],
)
def test_a_range_that_cannot_be_listed_is_refused(
    store: Store, registry: MeterRegistry, filter_: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        listed(store, registry, **{name: parse_instant(text) for name, text in filter_.items()})

    assert str(refused.value) == message


def test_filters_narrow_by_subject_part_of_the_id_and_arrival(store: Store, registry: MeterRegistry) -> None:
    put(store, [envelope("req-1"), envelope("req-2", subject="it's \\ %"), envelope("other_%_\\'")])
    put(store, [envelope("late-req")], first_offset=3, arrived_ms=ARRIVED_MS + 1)

    assert ids(listed(store, registry, id_contains="req")) == ["late-req", "req-2", "req-1"]
    assert ids(listed(store, registry, id_contains="%")) == ["other_%_\\'"]
    assert ids(listed(store, registry, id_contains="_\\'")) == ["other_%_\\'"]
    assert ids(listed(store, registry, id_contains="REQ")) == []
    assert ids(listed(store, registry, subject="it's \\ %")) == ["req-2"]
    assert ids(listed(store, registry, subject="customer")) == []
    assert ids(listed(store, registry, subject="")) == []
    assert ids(listed(store, registry, subject="customer-1", id_contains="req-")) == ["req-1"]
    assert ids(listed(store, registry, ingested_from=parse_instant("2025-03-20T12:00:00.501Z"))) == ["late-req"]
    assert ids(listed(store, registry, ingested_to=parse_instant("2025-03-20T12:00:00.501Z"), id_contains="1")) == [
        "req-1"
    ]


def test_pages_by_cursor_hold_every_event_once(store: Store, registry: MeterRegistry) -> None:
    put(store, [envelope(f"{at}", time=f"2025-03-20T11:00:0{at % 3}Z") for at in range(10)])

    pages, after = [], None
    while page := listed(store, registry, limit=3, after=after):
        pages.append(ids(page))
        after = parse_cursor(page[-1].position.cursor)

    assert pages == [["8", "5", "2"], ["7", "4", "1"], ["9", "6", "3"], ["0"]]


@pytest.mark.parametrize(
    "cursor", ["", "x", "MSwyLDM", "MSwyLDM=\n", "MSwyLDM=x", "LTEsMCww", "MSwyLDMsNA==", "ü", "MDEsMiwz", "OTk5" * 99]
)
def test_a_cursor_that_was_not_given_is_refused(cursor: str) -> None:
    assert parse_cursor("MSwyLDM=") == LogPosition(1, 2, 3)

    with pytest.raises(InvalidRequest, match="cursor is invalid"):
        parse_cursor(cursor)


# --- why an event did not count ---------------------------------------------------------------------------------------


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


# --- dead letters -----------------------------------------------------------------------------------------------------


def put_dead_letters(store: Store, letters: Sequence[tuple[datetime, int, int, str, bytes]]) -> None:
    rows = [
        [at, at + timedelta(seconds=1), partition, offset, reason, value]
        for at, partition, offset, reason, value in letters
    ]
    columns = ["arrived_at", "stored_at", "log_partition", "log_offset", "reason", "value"]
    store.insert_rows("dead_letters", columns, rows)


def test_dead_letters_come_newest_first_with_their_bytes(store: Store) -> None:
    put_dead_letters(
        store,
        [
            (NOON, 0, 7, "not JSON: line 1", b'{"id":\n "\xc3\xbc'),
            (NOON + timedelta(milliseconds=250), 3, 1, "not UTF-8: invalid start byte at byte 0", b"\xff\x00\xfe"),
            (NOON, 0, 8, "id is missing", b"{}"),
        ],
    )

    assert list_dead_letters(store, 100) == [
        {
            "arrivedAt": "2025-03-20T12:00:00.25Z",
            "storedAt": "2025-03-20T12:00:01.25Z",
            "partition": 3,
            "offset": 1,
            "reason": "not UTF-8: invalid start byte at byte 0",
            "value": "/wD+",
            "valueEncoding": "base64",
        },
        {
            "arrivedAt": "2025-03-20T12:00:00Z",
            "storedAt": "2025-03-20T12:00:01Z",
            "partition": 0,
            "offset": 8,
            "reason": "id is missing",
            "value": "{}",
        },
        {
            "arrivedAt": "2025-03-20T12:00:00Z",
            "storedAt": "2025-03-20T12:00:01Z",
            "partition": 0,
            "offset": 7,
            "reason": "not JSON: line 1",
            "value": '{"id":\n "ü',
        },
    ]


def test_dead_letters_of_one_instant_are_paged_by_their_position(store: Store) -> None:
    put_dead_letters(store, [(NOON, 0, offset, "id is missing", b"{}") for offset in range(5)])
    noon_ms = milliseconds(NOON)

    assert [letter["offset"] for letter in list_dead_letters(store, 2)] == [4, 3]
    assert [letter["offset"] for letter in list_dead_letters(store, 2, LogPosition(noon_ms, 0, 3))] == [2, 1]
    assert [letter["offset"] for letter in list_dead_letters(store, 2, LogPosition(noon_ms, 0, 0))] == []
    assert [letter["offset"] for letter in list_dead_letters(store, 9, LogPosition(noon_ms + 1, 0, 0))] == [
        4,
        3,
        2,
        1,
        0,
    ]
