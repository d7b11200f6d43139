"""The page's own arithmetic, where it is easily wrong: periods across clock changes, decimals as text."""

import json
import subprocess
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.portal.browser import SOURCES, needed

HERE = Path(__file__).parent
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


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Call functions of a module: (name, arguments…) each."""
    needed("node")

    def call(module: str, *calls: tuple[object, ...]) -> list[Any]:
        vite = SOURCES / "node_modules" / "vite" / "dist" / "node" / "index.js"
        command: list[str | Path] = ["node", HERE / "modules.mjs", vite, SOURCES / "src", module]
        command.append(tmp_path_factory.mktemp(module))
        done = subprocess.run(command, input=json.dumps(calls), capture_output=True, text=True, check=True, timeout=60)
        found: list[Any] = json.loads(done.stdout)
        return found

    return call


def midnight(day: date, zone: str) -> int:
    """Return the first instant of a local date, in milliseconds: found by walking, not by arithmetic on offsets."""
    at = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo("UTC")) - timedelta(hours=15)
    while at.astimezone(ZoneInfo(zone)).date() < day:
        at += timedelta(minutes=15)
    return int(at.timestamp() * 1000)


def months(day: date, count: int) -> date:
    number = day.year * 12 + day.month - 1 + count
    return date(number // 12, number % 12 + 1, 1)


def test_periods_begin_and_end_with_local_days_and_months(run: Any) -> None:
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


def test_days_and_months_tile_a_period(run: Any) -> None:
    wanted, calls = [], []
    for zone in ZONES:
        first, end = date(2025, 3, 1), date(2025, 12, 1)
        span = {"from": midnight(first, zone), "to": midnight(end, zone)}
        calls += [("windowStarts", span, "DAY", zone), ("windowStarts", span, "MONTH", zone)]
        wanted.append([midnight(first + timedelta(days=days), zone) for days in range((end - first).days)])
        wanted.append([midnight(months(first, count), zone) for count in range(9)])

    assert run("periods", *calls) == wanted


def test_hours_are_those_of_the_zone(run: Any) -> None:
    now = int(datetime(2025, 6, 1, 10, 20, tzinfo=ZoneInfo("UTC")).timestamp() * 1000)

    (kathmandu, berlin) = run(
        "periods", ("spanOf", "24h", "Asia/Kathmandu", now), ("spanOf", "24h", "Europe/Berlin", now)
    )

    assert datetime.fromtimestamp(kathmandu["to"] / 1000, ZoneInfo("Asia/Kathmandu")).strftime("%H:%M") == "17:00"
    assert datetime.fromtimestamp(berlin["to"] / 1000, ZoneInfo("Europe/Berlin")).strftime("%H:%M") == "13:00"
    assert kathmandu["to"] - kathmandu["from"] == 24 * 3600 * 1000


def test_numbers_keep_every_digit(run: Any) -> None:
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
    ]  # fmt: skip


def test_decimals_add_exactly(run: Any) -> None:
    sums = [("0.1", "0.2"), ("9007199254740993", "0.5"), ("-1.25", "1.25"), ("-0.3", "0.1"), ("99.9", "0.1")]

    assert run("exact", *(("addDecimals", *pair) for pair in sums)) == ["0.3", "9007199254740993.5", "0", "-0.2", "100"]
