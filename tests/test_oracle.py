"""The oracle compared with numbers that are written out by hand, with ClickHouse's JSON texts, and with itself.

Owns: the reasons to trust tests/harness/oracle.py. The ledger restates the contract's 4.1 to 4.8 and D.5 to D.7, D.16
to D.18.
Limits: chDB accepts one path per process, so `json_value` uses that of the session (tests/conftest.py).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import clickhouse_connect
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness import strategies
from tests.harness.long_form import LONG
from tests.harness.oracle import Event, Fold, Meter, Query, Row, deduplicate, usage
from tests.harness.oracle_time import EPOCH, NANOSECONDS, instant, window_bounds
from tests.harness.oracle_values import extract, number

THOROUGH = 30 if LONG else 1
QUICK = settings(max_examples=60 * THOROUGH, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MINUTE = "2025-01-01T10:20:00Z"


def event(
    serial: int, data: str | None = '{"v": 1}', at: str = MINUTE, subject: str = "customer-1", kind: str = "request"
) -> Event:
    return Event(f"event-{serial}", "api", kind, subject, at, data)


def meter(aggregation: str = "SUM", **dimensions: str) -> Meter:
    return Meter("usage", "request", aggregation, None if aggregation == "COUNT" else "$.v", dimensions)


def values(events: list[Event], aggregation: str, query: Query | None = None) -> list[str]:
    return [plain(row.value) for row in usage(events, meter(aggregation), query or Query())]


def plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def window(row: Row) -> str:
    return f"{written(row.window_start)}/{written(row.window_end)}"


def written(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // NANOSECONDS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def bounds(at: str, size: str, zone: str) -> str:
    start, end = window_bounds(instant(at) // 1_000_000, size, zone)
    return f"{written(start * NANOSECONDS)}/{written(end * NANOSECONDS)}"


# --- text and numbers -------------------------------------------------------------------------------------------------

TEXTS = [
    ('{"v": 123}', "$.v", "123"),
    ('{"v": -5}', "$.v", "-5"),
    ('{"v": -0}', "$.v", "0"),
    ('{"v": 1.50}', "$.v", "1.5"),
    ('{"v": 3.0}', "$.v", "3"),
    ('{"v": -0.0}', "$.v", "-0"),
    ('{"v": 1e3}', "$.v", "1000"),
    ('{"v": 1E5}', "$.v", "1e+05"),
    ('{"v": 12e4}', "$.v", "120000"),
    ('{"v": 1e-7}', "$.v", "1e-07"),
    ('{"v": 0.0001}', "$.v", "1e-04"),
    ('{"v": 0.00012}', "$.v", "0.00012"),
    ('{"v": 1e22}', "$.v", "1e+22"),
    ('{"v": 1e-400}', "$.v", "0"),
    ('{"v": 123456789012345680000.0}', "$.v", "123456789012345683968"),
    ('{"v": 0.12345678901234567890}', "$.v", "0.12345678901234568"),
    ('{"v": 123456789.123456789}', "$.v", "123456789.12345679"),
    ('{"v": 123456789012345678901234567890}', "$.v", "123456789012345678901234567890"),
    ('{"v": "0.12345678901234567890"}', "$.v", "0.12345678901234567890"),
    ('{"v": "\\u00fc\\ud83d\\ude00\\n"}', "$.v", "ü😀\n"),
    ('{"v": null}', "$.v", "null"),
    ('{"v": "null"}', "$.v", "null"),
    ('{"v": true}', "$.v", "true"),
    ('{"v": false}', "$.v", "false"),
    ('{"v": ""}', "$.v", ""),
    ('{"v": {"w": 1}}', "$.v", ""),
    ('{"v": [1]}', "$.v", ""),
    ('{"w": 1}', "$.v", ""),
    ('{"v": 1', "$.v", ""),
    ('{"v": 1, "w": 1e400}', "$.v", ""),
    ("null", "$.v", ""),
    ("null", "$", "null"),
    ("", "$.v", ""),
    (None, "$.v", ""),
    (' \n{ "v"\t: 1 } ', "$.v", "1"),
    ('{"v": 1, "v": 2}', "$.v", "1"),
    ('{"\\u0076": 1, "v": 2}', "$.v", "1"),
    ('{"a": 1, "a": {"b": 2}}', "$.a.b", ""),
    ('{"a": {"b": 3}}', "$.a.b", "3"),
    ('{"a": {"b": 3}}', "$['a']['b']", "3"),
    ('{"a": {"b": 3}}', '$["a"].b', "3"),
    ('{"a b": 3}', '$."a b"', "3"),
    ('{"a.b": 3}', "$['a.b']", "3"),
    ('{"a": {"0": 3}}', "$.a.0", "3"),
    ('{"a": [3]}', "$.a.0", ""),
    ('{"1a": 3}', "$.1a", "3"),
    ('{"$a": 3}', "$.$a", "3"),
    ('{"a": [4, 5]}', "$.a[1]", "5"),
    ('{"a": [4, 5]}', "$.a[2]", ""),
    ('{"a": 4}', "$.a[0]", ""),
    ('{"a": 4}', "$.a[*]", ""),
    ('{"a": {"b": 4}}', "$.a[*]", ""),
    ('{"a": [[], {}, 5]}', "$.a[*]", "5"),
    ('{"a": [[], 5, 6]}', "$.a[0 to 2]", "5"),
    ('{"a": [[], [], 6]}', "$.a[0 to 2]", ""),
    ('{"a": [{"b": 1}, {"b": 2}]}', "$.a[*].b", "1"),
    ('{"a": [{"c": 1}, {"b": {}}, {"b": 2}]}', "$.a[*].b", "2"),
    ('{"a": [{"b": null}, {"b": 2}]}', "$.a[*].b", "null"),
    ('{"a": [{"b": ""}, {"b": 2}]}', "$.a[*].b", ""),
    ('{"a": [[], [3, 4]]}', "$.a[*][1]", "4"),
]


@pytest.mark.parametrize(("data", "path", "text"), TEXTS)
def test_text_at_a_path(data: str | None, path: str, text: str) -> None:
    assert extract(data, path) == text


@pytest.mark.parametrize("path", ["", "a", "$a", "$.", "$.a.", "$.a-b", "$..a", "$.*", "$.ä", "$.a[-1]", "$.a[?(@.b)]"])
def test_paths_that_are_refused_have_no_meaning(path: str) -> None:
    with pytest.raises(ValueError):
        extract("{}", path)


NUMBERS = [
    ("1e3", "1000"),
    ("+1", "1"),
    (".5", "0.5"),
    ("5.", "5"),
    ("00012", "12"),
    ("-0", "0"),
    ("-.5e1", "-5"),
    ("1E+05", "100000"),
    ("0e999", "0"),
    ("0.0e-99999999999999999999", "0"),
    ("1e-19", "0.0000000000000000001"),
    ("100e-21", "0.0000000000000000001"),
    ("0.1e38", "10000000000000000000000000000000000000"),
    ("1.1234567890123456789000", "1.1234567890123456789"),
    ("99999999999999999999999999999999999999.9999999999999999999",) * 2,
    ("0" * 5000 + "7", "7"),
]


@pytest.mark.parametrize(("text", "value"), NUMBERS)
def test_numbers_are_exact(text: str, value: str) -> None:
    assert number(text) == Decimal(value)


NOT_NUMBERS = ["", ".", "-", "+", "e5", ".e5", "1..2", "1e", "1e+", "--1", " 1", "1 ", "1\n", "0x10", "1_000", "1,000"]
NOT_FINITE = ["true", "null", "inf", "-inf", "Infinity", "nan", "NaN", "١", "１"]
TOO_LONG = ["0.1e39", "1e-400", "1e-20", "0." + "1" * 20, "1e38", "-1e38", "9" * 39, "1e400", "1e99999999999999999999"]


@pytest.mark.parametrize("text", [*NOT_NUMBERS, *NOT_FINITE, *TOO_LONG])
def test_anything_else_is_no_value(text: str) -> None:
    assert number(text) is None


# --- aggregations (4.2, 4.3, 4.6) -------------------------------------------------------------------------------------

EIGHT = [
    event(serial, data)
    for serial, data in enumerate(
        ['{"v":1}', '{"v":2}', '{"v":null}', "{}", None, '{"v":"abc"}', '{"v":true}', '{"v":"1"}']
    )
]


@pytest.mark.parametrize(
    ("aggregation", "value"),
    [
        ("COUNT", "8"),
        ("UNIQUE_COUNT", "5"),  # 1, 2, "", abc, true
        ("SUM", "4"),
        ("AVG", "1.3333333333333333333"),
        ("MIN", "1"),
        ("MAX", "2"),
        ("LATEST", "1"),
    ],
)
def test_aggregations_of_good_and_bad_values(aggregation: str, value: str) -> None:
    assert values(EIGHT, aggregation) == [value]


@pytest.mark.parametrize(
    ("aggregation", "rows"),
    [("COUNT", ["2"]), ("UNIQUE_COUNT", ["0"]), *[(name, []) for name in ("SUM", "AVG", "MIN", "MAX", "LATEST")]],
)
def test_a_group_without_a_usable_value(aggregation: str, rows: list[str]) -> None:
    nulls = [event(1, '{"v": null}'), event(2, '{"v": "null"}')]

    assert values(nulls, aggregation) == rows
    assert values(nulls, aggregation, Query(window_size="DAY")) == rows


def of_values(*literals: str) -> list[Event]:
    return [event(serial, f'{{"v": {literal}}}') for serial, literal in enumerate(literals)]


@pytest.mark.parametrize(
    ("aggregation", "literals", "value"),
    [
        ("SUM", ["0.1", "0.2"], "0.3"),
        ("SUM", ['"0.0000000000000000001"', "12345678901234567890"], "12345678901234567890.0000000000000000001"),
        ("SUM", ['"' + "9" * 38 + '"', "1"], "1" + "0" * 38),
        ("SUM", ["1", '"1e-400"', '"1e400"'], "1"),
        ("SUM", ["5", "-7"], "-2"),
        ("AVG", ["1", "2"], "1.5"),
        ("AVG", ["-1", "-1", "0"], "-0.6666666666666666666"),
        ("AVG", ['"0.0000000000000000001"', "0"], "0"),
        ("AVG", ['"-0.0000000000000000001"', "0"], "0"),
        ("MIN", ["3", "-4", '"-4.0000000000000000001"'], "-4.0000000000000000001"),
        ("MAX", ["3", '"1e3"', "null"], "1000"),
    ],
)
def test_values_are_exact(aggregation: str, literals: list[str], value: str) -> None:
    assert values(of_values(*literals), aggregation) == [value]


def test_latest_is_by_millisecond_then_by_position_in_the_log() -> None:
    log = [
        event(1, '{"v": 1}', "2025-01-01T00:00:00.001999Z"),
        event(2, '{"v": 2}', "2025-01-01T00:00:00.001Z"),
        event(3, '{"v": 3}', "2025-01-01T00:00:00Z"),
        event(4, '{"v": "late but no number"}', "2025-01-02T00:00:00Z"),
    ]

    assert values(log, "LATEST") == ["2"]


def test_the_first_event_of_a_source_and_id_counts() -> None:
    log = [event(1, '{"v": 1}'), event(1, '{"v": 5}', subject="customer-2"), replace(event(1, '{"v": 7}'), source="b")]

    assert deduplicate(log) == [log[0], log[2]]
    assert values(log, "SUM") == ["8"]


def test_a_repeat_is_one_even_if_the_first_was_of_another_type() -> None:
    log = [event(1, kind="prompt"), event(1)]

    assert values(log, "SUM") == []


@pytest.mark.parametrize(
    ("from_", "to", "expected"),
    [
        (None, None, "1970-01-01T00:00:00Z/1970-01-01T00:01:00Z"),
        ("2025-01-01T00:00:30Z", None, "2025-01-01T00:00:30Z/1970-01-01T00:01:00Z"),
        (None, "2025-01-01T00:00:30Z", "1970-01-01T00:00:00Z/2025-01-01T00:00:30Z"),
    ],
)
def test_nothing_counted_in_one_ungrouped_total_is_zero(from_: str | None, to: str | None, expected: str) -> None:
    for aggregation in ("COUNT", "UNIQUE_COUNT"):
        (row,) = usage([], meter(aggregation), Query(from_, to))

        assert (window(row), plain(row.value), row.subject, row.group_by) == (expected, "0", None, ())


@pytest.mark.parametrize(
    ("aggregation", "query"),
    [
        *[(aggregation, Query()) for aggregation in ("SUM", "AVG", "MIN", "MAX", "LATEST")],
        ("COUNT", Query(window_size="DAY")),
        ("COUNT", Query(group_by=("subject",))),
        ("COUNT", Query(subjects=("customer-1",))),
        ("UNIQUE_COUNT", Query(group_by=("model",))),
    ],
)
def test_otherwise_nothing_is_no_row(aggregation: str, query: Query) -> None:
    assert usage([], meter(aggregation, model="$.model"), query) == []


# --- bounds and totals (4.4, 4.5, D.6, D.18) --------------------------------------------------------------------------

MILLISECONDS = [event(serial, at=f"2025-01-01T00:00:00.{serial:03d}9Z") for serial in (0, 1, 2)]


@pytest.mark.parametrize(
    ("from_", "to", "count"),
    [
        ("2025-01-01T00:00:00Z", "2025-01-01T00:00:00.002Z", "2"),
        ("2025-01-01T00:00:00.000000001Z", "2025-01-01T00:00:00.002000001Z", "2"),
        ("2025-01-01T00:00:00.0019Z", None, "1"),
        (None, "2025-01-01T01:00:00.000000001+01:00", "1"),
        ("2025-01-01T00:00:01Z", None, "0"),
    ],
)
def test_times_are_cut_to_milliseconds_and_bounds_are_compared_as_given(
    from_: str | None, to: str | None, count: str
) -> None:
    assert values(MILLISECONDS, "COUNT", Query(from_, to)) == [count]


def test_event_from_raises_the_lower_bound_but_is_no_label() -> None:
    late = replace(meter("COUNT"), event_from=datetime(2025, 1, 1, 0, 0, 0, 1_500, tzinfo=UTC))

    (row,) = usage(MILLISECONDS, late, Query(from_="2025-01-01T00:00:00Z", to="2025-01-02T00:00:00Z"))

    assert (window(row), plain(row.value)) == ("2025-01-01T00:00:00Z/2025-01-02T00:00:00Z", "1")


def test_a_total_echoes_its_bounds_to_the_nanosecond() -> None:
    """Contract 4.5."""
    (row,) = usage([event(1)], meter(), Query("2025-01-01T05:30:00.123456789+05:30", "2025-02-01T00:00:00Z"))

    assert row.window_start == 1_735_689_600_123_456_789
    assert row.window_end == 1_738_368_000_000_000_000


def test_a_total_without_bounds_spans_the_minutes_of_all_events_of_its_group() -> None:
    log = [
        event(1, '{"v": "not a number"}', "2025-01-01T10:20:59.999Z"),
        event(2, '{"v": 1}', "2025-01-01T12:00:00Z"),
        event(3, "{}", "2025-01-01T12:34:00Z"),
        event(4, '{"v": 1}', "2025-01-03T00:00:00Z", subject="customer-2"),
    ]

    first, second = usage(log, meter(), Query(group_by=("subject",)))

    assert (first.subject, window(first)) == ("customer-1", "2025-01-01T10:20:00Z/2025-01-01T12:35:00Z")
    assert (second.subject, window(second)) == ("customer-2", "2025-01-03T00:00:00Z/2025-01-03T00:01:00Z")


def test_windows_keep_their_labels_where_bounds_cut_them() -> None:
    (row,) = usage([event(1)], meter(), Query("2025-01-01T10:19:59Z", "2025-01-01T10:20:01Z", "HOUR"))

    assert window(row) == "2025-01-01T10:00:00Z/2025-01-01T11:00:00Z"


# --- groups (4.8, 2.2) ------------------------------------------------------------------------------------------------


def test_every_event_is_counted_under_the_text_of_its_dimension() -> None:
    """Contract 4.8."""
    found = ['"gpt-4"', '"gpt-4"', "null", '"null"', '""', "{}", "[1]", "1", '"1"', "1.0", "true"]
    log = [event(serial, f'{{"model": {text}}}') for serial, text in enumerate(found)] + [event(90, None)]

    rows = usage(log, meter("COUNT", model="$.model"), Query(group_by=("model",)))

    assert [(row.group_by[0][1], int(row.value)) for row in rows] == [
        ("", 4),
        ("1", 3),
        ("gpt-4", 2),
        ("null", 2),
        ("true", 1),
    ]


def test_rows_stand_by_window_then_subject_then_dimensions_in_the_order_asked() -> None:
    log = [
        event(1, '{"a": "x", "b": "z"}', "2025-01-02T00:00:00Z", "A"),
        event(2, '{"a": "y", "b": "w"}', "2025-01-01T00:00:00Z", "b"),
        event(3, '{"a": "x", "b": "z"}', "2025-01-01T00:00:00Z", "b"),
        event(4, '{"a": "x", "b": "z"}', "2025-01-01T00:00:00Z", "B"),
        event(5, '{"a": "😀", "b": "z"}', "2025-01-01T00:00:00Z", "B"),
        event(6, '{"a": "\\uffee", "b": "z"}', "2025-01-01T00:00:00Z", "B"),
    ]

    rows = usage(log, meter("COUNT", a="$.a", b="$.b"), Query(window_size="DAY", group_by=("b", "subject", "a")))

    assert [(written(row.window_start)[8:10], row.subject, row.group_by) for row in rows] == [
        ("01", "B", (("b", "z"), ("a", "x"))),
        ("01", "B", (("b", "z"), ("a", "\uffee"))),
        ("01", "B", (("b", "z"), ("a", "😀"))),
        ("01", "b", (("b", "w"), ("a", "y"))),
        ("01", "b", (("b", "z"), ("a", "x"))),
        ("02", "A", (("b", "z"), ("a", "x"))),
    ]


def test_filters_take_any_of_their_texts_and_a_subject_filter_groups_too() -> None:
    log = [
        event(1, '{"model": "gpt-4", "n": 1}'),
        event(2, '{"model": 4, "n": 1}', subject="customer-2"),
        event(3, '{"model": "gpt-4", "n": 2}'),
        event(4, '{"model": "gpt-4", "n": 1}', subject="customer-3"),
        event(5, '{"model": "other", "n": 1}'),
    ]
    query = Query(subjects=("customer-2", "customer-1"), filters={"model": ("gpt-4", "4"), "n": ("1",)})

    rows = usage(log, meter("COUNT", model="$.model", n="$.n"), query)

    assert [(row.subject, row.group_by, int(row.value)) for row in rows] == [
        ("customer-1", (), 1),
        ("customer-2", (), 1),
    ]


# --- windows (4.4, 4.7, D.18) -----------------------------------------------------------------------------------------

WINDOWS = [
    ("UTC", "MINUTE", "2025-01-01T10:20:59.999Z", "2025-01-01T10:20:00Z/2025-01-01T10:21:00Z"),
    ("UTC", "HOUR", "2025-01-01T10:20:59Z", "2025-01-01T10:00:00Z/2025-01-01T11:00:00Z"),
    ("UTC", "DAY", "2024-02-29T23:59:59Z", "2024-02-29T00:00:00Z/2024-03-01T00:00:00Z"),
    ("UTC", "MONTH", "2024-02-29T23:59:59Z", "2024-02-01T00:00:00Z/2024-03-01T00:00:00Z"),
    ("UTC", "MONTH", "2024-12-31T23:59:59Z", "2024-12-01T00:00:00Z/2025-01-01T00:00:00Z"),
    ("America/Los_Angeles", "DAY", "2025-03-09T12:00:00Z", "2025-03-09T08:00:00Z/2025-03-10T07:00:00Z"),
    ("America/Los_Angeles", "DAY", "2025-11-02T12:00:00Z", "2025-11-02T07:00:00Z/2025-11-03T08:00:00Z"),
    ("America/Los_Angeles", "HOUR", "2025-11-02T08:30:00Z", "2025-11-02T08:00:00Z/2025-11-02T09:00:00Z"),
    ("America/Los_Angeles", "HOUR", "2025-11-02T09:30:00Z", "2025-11-02T09:00:00Z/2025-11-02T10:00:00Z"),
    ("America/Los_Angeles", "HOUR", "2025-03-09T09:59:00Z", "2025-03-09T09:00:00Z/2025-03-09T10:00:00Z"),
    ("America/Los_Angeles", "HOUR", "2025-03-09T10:00:00Z", "2025-03-09T10:00:00Z/2025-03-09T11:00:00Z"),
    ("Asia/Kolkata", "DAY", "2025-06-01T00:00:00Z", "2025-05-31T18:30:00Z/2025-06-01T18:30:00Z"),
    ("Asia/Kolkata", "HOUR", "2025-06-01T00:00:00Z", "2025-05-31T23:30:00Z/2025-06-01T00:30:00Z"),
    ("Asia/Kolkata", "MINUTE", "2025-06-01T00:00:30Z", "2025-06-01T00:00:00Z/2025-06-01T00:01:00Z"),
    ("Asia/Kathmandu", "HOUR", "2025-06-01T00:00:00Z", "2025-05-31T23:15:00Z/2025-06-01T00:15:00Z"),
    # 1986 began at midnight of +05:30; at that instant the clocks went forward to 00:15 (+05:45)
    ("Asia/Kathmandu", "DAY", "1985-12-31T18:30:00Z", "1985-12-31T18:30:00Z/1986-01-01T18:15:00Z"),
    ("Asia/Kathmandu", "HOUR", "1985-12-31T18:30:00Z", "1985-12-31T18:30:00Z/1985-12-31T19:15:00Z"),
    ("Asia/Kolkata", "DAY", "1970-01-01T00:00:00Z", "1969-12-31T18:30:00Z/1970-01-01T18:30:00Z"),
    ("Europe/Budapest", "MONTH", "2025-01-15T00:00:00Z", "2024-12-31T23:00:00Z/2025-01-31T23:00:00Z"),
    ("Europe/Budapest", "MONTH", "2025-03-15T00:00:00Z", "2025-02-28T23:00:00Z/2025-03-31T22:00:00Z"),
    ("Europe/Budapest", "MONTH", "2025-04-15T00:00:00Z", "2025-03-31T22:00:00Z/2025-04-30T22:00:00Z"),
    # midnight is skipped, and the day begins at 01:00
    ("America/Sao_Paulo", "DAY", "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z/2018-11-05T02:00:00Z"),
    ("Africa/Cairo", "DAY", "2024-04-26T12:00:00Z", "2024-04-25T22:00:00Z/2024-04-26T21:00:00Z"),
    # 23:30 becomes 00:30: midnight is within the skipped time
    ("America/Toronto", "DAY", "1919-03-31T12:00:00Z", "1919-03-31T04:30:00Z/1919-04-01T04:00:00Z"),
    # the first time, midnight is not reached: 24:00 becomes 23:00 of the same date
    ("America/Sao_Paulo", "DAY", "2018-02-18T02:30:00Z", "2018-02-17T02:00:00Z/2018-02-18T03:00:00Z"),
    # summer time is half an hour; it begins at 02:00 (+10:30 to +11) and ends at 02:00 (back to +10:30)
    ("Australia/Lord_Howe", "HOUR", "2025-10-04T15:29:59Z", "2025-10-04T14:30:00Z/2025-10-04T15:30:00Z"),
    ("Australia/Lord_Howe", "HOUR", "2025-10-04T15:30:00Z", "2025-10-04T15:30:00Z/2025-10-04T16:00:00Z"),
    ("Australia/Lord_Howe", "HOUR", "2025-10-04T16:00:00Z", "2025-10-04T16:00:00Z/2025-10-04T17:00:00Z"),
    ("Australia/Lord_Howe", "HOUR", "2025-04-05T14:59:59Z", "2025-04-05T14:00:00Z/2025-04-05T15:00:00Z"),
    ("Australia/Lord_Howe", "HOUR", "2025-04-05T15:00:00Z", "2025-04-05T15:00:00Z/2025-04-05T15:30:00Z"),
    ("Australia/Lord_Howe", "HOUR", "2025-04-05T15:30:00Z", "2025-04-05T15:30:00Z/2025-04-05T16:30:00Z"),
    ("Australia/Lord_Howe", "DAY", "2025-10-05T00:00:00Z", "2025-10-04T13:30:00Z/2025-10-05T13:00:00Z"),
    ("Australia/Lord_Howe", "DAY", "2025-04-06T00:00:00Z", "2025-04-05T13:00:00Z/2025-04-06T13:30:00Z"),
    # 00:01 of the 7th becomes 23:01 of the 6th: the repeated hour belongs to the 7th
    ("America/St_Johns", "DAY", "2010-11-07T02:29:59Z", "2010-11-06T02:30:00Z/2010-11-07T02:30:00Z"),
    ("America/St_Johns", "DAY", "2010-11-07T02:30:59Z", "2010-11-07T02:30:00Z/2010-11-08T03:30:00Z"),
    ("America/St_Johns", "DAY", "2010-11-07T02:31:00Z", "2010-11-07T02:30:00Z/2010-11-08T03:30:00Z"),
    ("America/St_Johns", "HOUR", "2010-11-07T02:31:00Z", "2010-11-07T02:30:00Z/2010-11-07T03:30:00Z"),
    # there was no 30th of December 2011
    ("Pacific/Apia", "DAY", "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z/2011-12-30T10:00:00Z"),
    ("Pacific/Apia", "DAY", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z/2011-12-31T10:00:00Z"),
    ("Pacific/Apia", "MONTH", "2011-12-30T10:00:00Z", "2011-12-01T10:00:00Z/2011-12-31T10:00:00Z"),
    # the offset was -00:44:30 until the clocks went forward by 44:30
    ("Africa/Monrovia", "HOUR", "1972-01-07T00:44:29Z", "1972-01-06T23:44:30Z/1972-01-07T00:44:30Z"),
    ("Africa/Monrovia", "HOUR", "1972-01-07T00:44:30Z", "1972-01-07T00:44:30Z/1972-01-07T01:00:00Z"),
    ("Africa/Monrovia", "DAY", "1972-01-07T12:00:00Z", "1972-01-07T00:44:30Z/1972-01-08T00:00:00Z"),
]


@pytest.mark.parametrize(("zone", "size", "at", "expected"), WINDOWS)
def test_window_that_holds_an_instant(zone: str, size: str, at: str, expected: str) -> None:
    assert bounds(at, size, zone) == expected


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2025-01-01T00:00:00.1239999Z", 1_735_689_600_123),
        ("2025-01-01T05:30:00.5+05:30", 1_735_689_600_500),
        ("2024-12-31T19:00:00-05:00", 1_735_689_600_000),
    ],
)
def test_event_times(text: str, at_ms: int) -> None:
    assert event(1, at=text).at_ms == at_ms


# --- what holds for every input ---------------------------------------------------------------------------------------

SIZES = st.sampled_from(["MINUTE", "HOUR", "DAY", "MONTH"])


@pytest.mark.long
@QUICK
@given(data=st.data(), size=SIZES)
def test_windows_tile_time(data: st.DataObject, size: str) -> None:
    zone = data.draw(strategies.zones())
    at_ms = instant(data.draw(strategies.times(zone))) // 1_000_000

    start, end = window_bounds(at_ms, size, zone)

    assert start * 1000 <= at_ms < end * 1000
    assert window_bounds(start * 1000, size, zone) == (start, end)
    assert window_bounds(end * 1000 - 1, size, zone) == (start, end)
    assert window_bounds(end * 1000, size, zone)[0] == end
    assert window_bounds(start * 1000 - 1, size, zone)[1] == start


@pytest.mark.long
@QUICK
@given(case=strategies.cases(), size=SIZES, aggregation=st.sampled_from(["SUM", "COUNT"]))
def test_a_total_is_the_sum_of_its_windows(
    case: tuple[list[Event], Meter, list[Query]], size: str, aggregation: str
) -> None:
    log, some, (query, *_) = case
    counted = replace(some, aggregation=aggregation, value_property="$.v")

    totals = usage(log, counted, replace(query, window_size=None))
    windows = usage(log, counted, replace(query, window_size=size))

    summed: dict[tuple[str | None, tuple[tuple[str, str], ...]], Fraction] = {}
    for row in windows:
        key = (row.subject, row.group_by)
        summed[key] = summed.get(key, Fraction(0)) + Fraction(row.value)
    assert summed == {(row.subject, row.group_by): row.value for row in totals if row.value or windows}


@pytest.mark.long
@QUICK
@given(case=strategies.cases())
def test_events_one_by_one_and_sent_again_answer_the_same(case: tuple[list[Event], Meter, list[Query]]) -> None:
    log, some, (query, *_) = case
    fold = Fold()
    for one in [*log, *log]:
        fold.add(one)

    assert fold.usage(some, query) == usage(log, some, query) == usage(deduplicate(log), some, query)


@pytest.mark.long
@QUICK
@given(case=strategies.cases())
def test_generated_cases_are_what_ingest_and_the_api_take(case: tuple[list[Event], Meter, list[Query]]) -> None:
    log, some, (query, *_) = case

    assert all(one.at_ms >= 0 for one in log)
    assert all(one.data is None or extract(one.data, "$") in {"", "null"} for one in log)
    assert some.value_property not in some.group_by.values()
    assert not (query.from_ and query.to) or instant(query.from_) < instant(query.to)
    assert {*query.group_by, *query.filters} <= {"subject", *some.group_by}


@pytest.mark.parametrize("zone", sorted(strategies.ZONE_INSTANTS))
def test_places_are_whole_seconds_after_1970(zone: str) -> None:
    for text in strategies.ZONE_INSTANTS[zone]:
        assert instant(text) >= instant(EPOCH.isoformat())
        assert instant(text) % NANOSECONDS == 0


# --- the engine's text ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def json_value(data_dir: Path) -> Iterator[Callable[[list[tuple[str, str]]], list[str]]]:
    """Return a function that asks ClickHouse for the texts of (data, path) pairs, many at a time."""
    client = clickhouse_connect.get_client(interface="chdb", path=str(data_dir / "store"))

    def ask(pairs: list[tuple[str, str]]) -> list[str]:
        found: dict[tuple[str, str], str] = {}
        for path in {path for _, path in pairs}:
            texts = [data for data, its_path in pairs if its_path == path]
            answer = client.query(
                "SELECT JSON_VALUE(arrayJoin({texts:Array(String)}), {path:String})",
                parameters={"texts": texts, "path": path},
            )
            found |= {(data, path): row[0] for data, row in zip(texts, answer.result_rows, strict=True)}
        return [found[pair] for pair in pairs]

    yield ask
    client.close()


def test_the_ledger_of_texts_holds_in_the_engine(json_value: Callable[[list[tuple[str, str]]], list[str]]) -> None:
    ledger = [(data or "", path, text) for data, path, text in TEXTS]

    assert json_value([(data, path) for data, path, _ in ledger]) == [text for _, _, text in ledger]


ENGINE = settings(QUICK, max_examples=25 * THOROUGH)


@pytest.mark.long
@ENGINE
@given(literals=st.lists(strategies.number_literals(), min_size=1, max_size=80))
def test_number_literals_read_as_the_engine_reads_them(
    json_value: Callable[[list[tuple[str, str]]], list[str]], literals: list[str]
) -> None:
    pairs = [(f'{{"v":{literal}}}', "$.v") for literal in literals]

    assert [extract(*pair) for pair in pairs] == json_value(pairs)


@pytest.mark.long
@ENGINE
@given(doubles=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=80))
def test_every_double_prints_as_the_engine_prints_it(
    json_value: Callable[[list[tuple[str, str]]], list[str]], doubles: list[float]
) -> None:
    pairs = [(f'{{"v":{double!r}}}', "$.v") for double in doubles]

    assert [extract(*pair) for pair in pairs] == json_value(pairs)


PATHS = st.sampled_from([*strategies.VALUE_PATHS, *strategies.WILDCARD_PATHS, *strategies.DIMENSIONS.values()])


@pytest.mark.long
@ENGINE
@given(pairs=st.lists(st.tuples(strategies.data_texts(), PATHS), min_size=1, max_size=40))
def test_generated_data_read_as_the_engine_reads_it(
    json_value: Callable[[list[tuple[str, str]]], list[str]], pairs: list[tuple[str, str]]
) -> None:
    assert [extract(*pair) for pair in pairs] == json_value(pairs)
