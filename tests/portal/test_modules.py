"""The page's own arithmetic where mistakes are easy: periods across clock changes, decimals as text."""

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from engine.texts import printable_name
from tests.portal.conftest import Run

ZONES = ["UTC", "Europe/Berlin", "America/Los_Angeles", "Asia/Kathmandu", "Australia/Lord_Howe", "Asia/Beirut"]
# Clocks change in Los Angeles on 9 March and 2 November 2025, in Berlin on 30 March and 26 October, in Beirut on 30
# March at midnight: that day begins at one o'clock.
MOMENTS = [
    "2025-01-01T00:30:00",
    "2025-03-09T12:00:00",
    "2025-03-30T20:15:00",
    "2025-11-02T09:30:00",
    "2024-02-29T23:59:59",
]
CASES = [(zone, moment) for zone in ZONES for moment in MOMENTS]


def midnight(day: date, zone: str) -> int:
    """Return the first instant of a local date in milliseconds. It is searched step by step, without offsets."""
    at = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo("UTC")) - timedelta(hours=15)
    while at.astimezone(ZoneInfo(zone)).date() < day:
        at += timedelta(minutes=15)
    return int(at.timestamp() * 1000)


def months(day: date, count: int) -> date:
    number = day.year * 12 + day.month - 1 + count
    return date(number // 12, number % 12 + 1, 1)


def test_periods_begin_and_end_with_local_days_and_months(run: Run) -> None:
    wanted, calls = [], []
    for zone, moment in CASES:
        now = datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo("UTC"))
        today = now.astimezone(ZoneInfo(zone)).date()
        spans = {
            "7d": (today - timedelta(days=6), today + timedelta(days=1)),
            "30d": (today - timedelta(days=29), today + timedelta(days=1)),
            "month": (months(today, 0), months(today, 1)),
            "last-month": (months(today, -1), months(today, 0)),
            "12m": (months(today, -11), months(today, 1)),
        }
        for period, (first, end) in spans.items():
            calls.append(("spanOf", period, zone, int(now.timestamp() * 1000)))
            wanted.append({"from": midnight(first, zone), "to": midnight(end, zone)})

    assert run("periods", *calls) == wanted


def test_days_and_months_tile_a_period(run: Run) -> None:
    wanted, calls = [], []
    for zone in ZONES:
        first, end = date(2025, 3, 1), date(2025, 12, 1)
        span = {"from": midnight(first, zone), "to": midnight(end, zone)}
        calls += [("windowStarts", span, "DAY", zone), ("windowStarts", span, "MONTH", zone)]
        wanted.append([midnight(first + timedelta(days=days), zone) for days in range((end - first).days)])
        wanted.append([midnight(months(first, count), zone) for count in range(9)])

    assert run("periods", *calls) == wanted


def test_hours_are_those_of_the_zone(run: Run) -> None:
    now = int(datetime(2025, 6, 1, 10, 20, tzinfo=ZoneInfo("UTC")).timestamp() * 1000)

    (kathmandu, berlin) = run(
        "periods", ("spanOf", "24h", "Asia/Kathmandu", now), ("spanOf", "24h", "Europe/Berlin", now)
    )

    assert datetime.fromtimestamp(kathmandu["to"] / 1000, ZoneInfo("Asia/Kathmandu")).strftime("%H:%M") == "17:00"
    assert datetime.fromtimestamp(berlin["to"] / 1000, ZoneInfo("Europe/Berlin")).strftime("%H:%M") == "13:00"
    assert kathmandu["to"] - kathmandu["from"] == 24 * 3600 * 1000


def test_numbers_keep_every_digit(run: Run) -> None:
    text = (
        '{"data":[{"value":12345678901234567890.1234567890123456789,"a":"7, \\"8\\" 1e5","b":-0.5,"c":[1,null,true]}]}'
    )

    parsed, *formatted = run(
        "exact",
        ("parseExact", text),
        ("formatDecimal", "12345678901234567890.1234567890123456789", "en-US"),
        ("formatDecimal", "-0.50", "de-DE"),
        ("formatDecimal", "1234567.5", "en-IN"),
        ("formatBrief", "484.5407894736842105263", "en-US"),
        ("formatBrief", "484.540789", "en-US"),
        ("formatBrief", "0.0000013", "en-US"),
        ("formatBrief", "-0.00000123456789", "en-US"),
    )

    assert parsed == {
        "data": [
            {
                "value": "12345678901234567890.1234567890123456789",
                "a": '7, "8" 1e5',
                "b": "-0.5",
                "c": ["1", None, True],
            }
        ]
    }
    assert formatted == [
        "12,345,678,901,234,567,890.1234567890123456789", "−0,50", "12,34,567.5", "484.5407…", "484.540789",
        "0.0000013", "−0.000001234…",
    ]  # fmt: skip


def test_decimals_add_exactly(run: Run) -> None:
    sums = [("0.1", "0.2"), ("9007199254740993", "0.5"), ("-1.25", "1.25"), ("-0.3", "0.1"), ("99.9", "0.1")]

    assert run("exact", *(("addDecimals", *pair) for pair in sums)) == ["0.3", "9007199254740993.5", "0", "-0.2", "100"]


def test_large_numbers_are_short_where_room_is_and_never_cut_inside(run: Run) -> None:
    large = "67407407407340740740.5"

    assert run(
        "exact",
        ("formatFitting", "123456789", "en-US"),
        ("formatFitting", "12345678901.25", "en-US"),
        ("formatFitting", large, "en-US"),
        ("formatFitting", f"-{large}", "de-DE"),
        ("formatShort", 2.5e9, "en-US"),
        ("formatShort", 2e19, "en-US"),
        ("formatShort", -2.5e15, "en-US"),
    ) == ["123,456,789", "12.35B", "6.741 × 10¹⁹", "−6,741 × 10¹⁹", "2.5B", "2 × 10¹⁹", "−2.5 × 10¹⁵"]


def test_tiny_numbers_are_short_where_room_is(run: Run) -> None:
    assert run(
        "exact",
        ("formatFitting", "0.0000000000005894181", "en-US"),
        ("formatFitting", "0.00012", "en-US"),
        ("formatShort", 2.5e-14, "en-US"),
        ("formatShort", -2e-7, "de-DE"),
        ("formatShort", 0, "en-US"),
    ) == ["5.894 × 10⁻¹³", "0.00012", "2.5 × 10⁻¹⁴", "−2 × 10⁻⁷", "0"]


@pytest.mark.parametrize("locale", ["ar-EG", "fa-IR", "mr-IN", "th-TH-u-nu-thai"])
def test_digits_are_those_of_the_api_in_every_language(run: Run, locale: str) -> None:
    noon = int(datetime(2026, 11, 22, 12, tzinfo=ZoneInfo("UTC")).timestamp() * 1000)

    written = run("exact", *((name, "1234.5", locale) for name in ("formatDecimal", "formatBrief", "formatFitting")))
    written += run("exact", ("formatShort", 1234567.5, locale), ("formatShort", 2e19, locale))
    written += run("periods", *(("windowLabel", noon, size, "UTC", locale) for size in ("HOUR", "DAY", "MONTH")))
    written += run("periods", ("spanLabel", {"from": noon, "to": noon + 86_400_000 * 3}, "UTC", locale))

    digits = {character for text in written for character in text if character.isdecimal()}
    assert digits <= set("0123456789")
    assert "2026" in written[-1]


def test_windows_that_a_clock_shows_twice_name_their_offset(run: Run) -> None:
    def label(instant: str, zone: str, size: str = "HOUR", *, brief: bool = False) -> tuple[object, ...]:
        at = int(datetime.fromisoformat(instant).timestamp() * 1000)
        return ("windowLabel", at, size, zone, "en-US", brief)

    assert run(
        "periods",
        label("2025-10-26T00:00:00+00:00", "Europe/Berlin"),
        label("2025-10-26T01:00:00+00:00", "Europe/Berlin"),
        label("2025-10-26T02:00:00+00:00", "Europe/Berlin"),
        label("2025-10-26T01:00:00+00:00", "Europe/Berlin", brief=True),
        label("2025-04-05T15:15:00+00:00", "Australia/Lord_Howe", "MINUTE", brief=True),
        label("2025-03-30T00:00:00+00:00", "Europe/Berlin"),
        label("2025-10-25T22:00:00+00:00", "Europe/Berlin", "DAY"),
    ) == [
        "Oct 26, 2025, 02:00 GMT+2",
        "Oct 26, 2025, 02:00 GMT+1",
        "Oct 26, 2025, 03:00",
        "02:00 GMT+1",
        "01:45 GMT+10:30",
        "Mar 30, 2025, 01:00",
        "Sun, Oct 26, 2025",
    ]


def usage_of(*rows: tuple[dict[str, str], str]) -> dict[str, object]:
    """Return the usage of a day as in the views: one window, in groups."""
    start = "2026-11-22T00:00:00Z"
    found = [
        {"windowStart": start, "windowEnd": "2026-11-23T00:00:00Z", "subject": None, "groupBy": keys, "value": value}
        for keys, value in rows
    ]
    groups = [{"keys": keys, "value": value} for keys, value in rows]
    first = int(datetime.fromisoformat(start).timestamp() * 1000)
    span = {"from": first, "to": first + 86_400_000}
    usage = {"span": span, "windowSize": "DAY", "zone": "UTC", "rows": found, "groups": groups, "total": "0"}
    return {**usage, "groupCount": len(rows), "others": None, "open": None}


TOKENS = {"slug": "tokens", "name": "Tokens", "aggregation": "SUM"}


def columns(chart: dict[str, Any]) -> list[tuple[str, object]]:
    return [(one["name"], one["texts"][0]) for one in chart["series"]]


def test_groups_of_one_name_stay_groups_of_their_own(run: Run) -> None:
    usage = usage_of(
        ({"a": "x · y", "b": "z"}, "1"), ({"a": "x", "b": "y · z"}, "2"), ({"a": "", "b": ""}, "4"),
        ({"a": "(none)", "b": "(none)"}, "8"),
    )  # fmt: skip

    (chart,) = run("usage", ("chartOf", usage, TOKENS, "", "en-US"))

    assert columns(chart) == [
        ("x · y · z", "1"),
        ("x · y · z", "2"),
        ("(none) · (none)", "4"),
        ("(none) · (none)", "8"),
    ]


def test_a_group_called_other_is_no_part_of_the_rest(run: Run) -> None:
    named = [({"model": "Other"}, "100"), *(({"model": f"m{number}"}, str(50 - number)) for number in range(9))]

    (chart,) = run("usage", ("chartOf", usage_of(*named), TOKENS, "", "en-US"))

    assert columns(chart) == [
        ("Other", "100"),
        *((f"m{number}", str(50 - number)) for number in range(6)),
        ("Other", "129"),
    ]


def test_beside_the_pointer_a_number_too_long_is_rounded(run: Run) -> None:
    values = ["1755178147005117527369094530901.5", "12345678901234567.125"]

    (chart,) = run("usage", ("chartOf", usage_of(*(({"m": value}, value) for value in values)), TOKENS, "", "en-US"))

    assert [one["texts"][0] for one in chart["series"]] == ["1.755 × 10³⁰", "12,345,678,901,234,567.125"]


def test_a_refresh_is_none_or_one_a_page_can_do(run: Run) -> None:
    texts = [None, "", "soon", "0", "-1", "0.001", "3", "1e9", "Infinity"]

    seconds = [None, None, None, 0, 0, 0.5, 3, 86400, 86400]
    assert run("viewState", *(("readSeconds", text) for text in texts)) == seconds


def test_a_zone_is_one_the_api_knows_too(run: Run) -> None:
    zones = ["utc", "europe/berlin", "Asia/Tokyo", "+01:00", "-05", "Mars/Olympus", ""]

    known = ["UTC", "Europe/Berlin", "Asia/Tokyo", None, None, None, None]
    assert run("periods", *(("knownZone", zone) for zone in zones)) == known


def test_a_period_is_of_a_time_usage_can_be_of(run: Run) -> None:
    periods = [
        "7d",
        "1970-01-01..2099-12-31",
        "1969-12-31..2026-01-01",
        "2026-01-01..2100-01-01",
        "2026-13-01..2026-14-01",
    ]

    assert run("viewState", *(("readPeriod", period) for period in periods)) == [
        "7d", {"from": "1970-01-01", "to": "2099-12-31"}, None, None, None,
    ]  # fmt: skip


NAMES = [
    *("acme", "acme ", " acme", "ac me", "ac\u00a0me", "ac\u200bme", "ac\u200dme", "acme\ufe0f", "acme\u3164"),
    *("\u202eemca", "acme\U000e0041", "\u0645\u06cc\u200c\u062e\u0648", "\U0001f468\u200d\U0001f469 \u2764\ufe0f"),
    *("ac\tme\n", "a\u034fb", "\x1b[31mred\x9b", "\u2066x\u2069", "Zo\u00eb", "\u6771\u4eac", "1\ufe0f\u20e3"),
    *("\u200d", "x\u2028y"),
]


def test_names_that_look_alike_are_shown_as_commands_show_them(run: Run) -> None:
    """S14, contract D.40: an invisible character of a name is shown as its code."""
    assert run("unseen", *[("printableName", name) for name in NAMES]) == [printable_name(name) for name in NAMES]
    assert run("usage", ("groupText", "ac\u200bme "), ("groupText", "")) == ["ac\\u200bme\\x20", "(none)"]
