"""Listings of events: how an event looks, which events are listed, their order, filters and pages."""

import json
from collections.abc import Sequence

import pytest

from engine.errors import InvalidRequest
from engine.events.listing import ListedEvent, to_json
from engine.instants import parse_instant
from engine.listings.log_position import LogPosition, parse_cursor
from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import Store
from tests.engine.events.listed_events import ARRIVED_MS, envelope, listed, meter, put

pytestmark = pytest.mark.thorough


def ids(events: Sequence[ListedEvent]) -> list[str]:
    return [json.loads(event.event)["id"] for event in events]


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
