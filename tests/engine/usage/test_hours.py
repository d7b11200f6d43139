"""Hours in zones with unusual clock changes, as ClickHouse computes them: written out, and compared with the oracle.

Contract 4.4.
"""

import pytest

from engine.instants import BEGINNING, END
from engine.store.clickhouse import Store
from engine.usage.timeline import Timeline
from engine.usage.windows import WindowSize
from engine.usage.zones import hour_phases, offsets
from tests.engine.usage.zones_and_seconds import ODD_ZONES, second, written
from tests.harness import oracle_time


def in_engine(store: Store, size: WindowSize, name: str, seconds: list[int]) -> list[tuple[int, int, str, str]]:
    """Return (second, window start, both ends as text), with the start as a usage statement computes it."""
    timeline = Timeline(size, name, min(seconds), max(seconds))
    statement = (
        f"SELECT second, {timeline.start('second')} AS start FROM "
        "(SELECT arrayJoin({seconds:Array(Int64)}) AS second) ORDER BY second"
    )
    found = store.rows(statement, **timeline.parameters, seconds=seconds)
    return [(second, start, timeline.text(start), timeline.text(timeline.end(start))) for second, start in found]


HOURS = {
    "New York loses an hour: no window is missing on the UTC axis": (
        "America/New_York",
        {
            "2025-03-09T06:59:59Z": "2025-03-09T01:00:00-05:00 2025-03-09T03:00:00-04:00",
            "2025-03-09T07:00:00Z": "2025-03-09T03:00:00-04:00 2025-03-09T04:00:00-04:00",
        },
    ),
    "New York has one o'clock twice": (
        "America/New_York",
        {
            "2025-11-02T05:30:00Z": "2025-11-02T01:00:00-04:00 2025-11-02T01:00:00-05:00",
            "2025-11-02T06:30:00Z": "2025-11-02T01:00:00-05:00 2025-11-02T02:00:00-05:00",
        },
    ),
    "Kolkata's hours begin at half past": (
        "Asia/Kolkata",
        {
            "2025-06-01T10:29:59Z": "2025-06-01T15:00:00+05:30 2025-06-01T16:00:00+05:30",
            "2025-06-01T10:30:00Z": "2025-06-01T16:00:00+05:30 2025-06-01T17:00:00+05:30",
        },
    ),
    "Kathmandu's hours begin at quarter past": (
        "Asia/Kathmandu",
        {"2025-06-01T10:15:00Z": "2025-06-01T16:00:00+05:45 2025-06-01T17:00:00+05:45"},
    ),
    "Kathmandu's first hour of 1986 lasts three quarters": (
        "Asia/Kathmandu",
        {"1985-12-31T18:30:00Z": "1986-01-01T00:15:00+05:45 1986-01-01T01:00:00+05:45"},
    ),
    "Lord Howe sets back half an hour: the half is a window of its own": (
        "Australia/Lord_Howe",
        {
            "2025-04-05T14:59:59Z": "2025-04-06T01:00:00+11:00 2025-04-06T01:30:00+10:30",
            "2025-04-05T15:00:00Z": "2025-04-06T01:30:00+10:30 2025-04-06T02:00:00+10:30",
            "2025-04-05T15:30:00Z": "2025-04-06T02:00:00+10:30 2025-04-06T03:00:00+10:30",
        },
    ),
    "Lord Howe springs half an hour: the hour is cut": (
        "Australia/Lord_Howe",
        {
            "2025-10-04T15:29:59Z": "2025-10-05T01:00:00+10:30 2025-10-05T02:30:00+11:00",
            "2025-10-04T15:30:00Z": "2025-10-05T02:30:00+11:00 2025-10-05T03:00:00+11:00",
            "2025-10-04T16:00:00Z": "2025-10-05T03:00:00+11:00 2025-10-05T04:00:00+11:00",
        },
    ),
    "Monrovia's hours are told in UTC while its offset has seconds": (
        "Africa/Monrovia",
        {
            "1972-01-06T10:44:29Z": "1972-01-06T09:44:30Z 1972-01-06T10:44:30Z",
            "1972-01-06T10:44:30Z": "1972-01-06T10:44:30Z 1972-01-06T11:44:30Z",
            "1972-01-07T00:44:30Z": "1972-01-07T00:44:30Z 1972-01-07T01:00:00Z",
        },
    ),
}


@pytest.mark.parametrize(("name", "expected"), HOURS.values(), ids=HOURS)
def test_hours(bare_store: Store, name: str, expected: dict[str, str]) -> None:
    answers = in_engine(bare_store, WindowSize.HOUR, name, [second(text) for text in expected])

    assert {written([at])[0]: f"{start} {end}" for at, _, start, end in answers} == expected


def _crowded(name: str) -> list[int]:
    """Return instants around all clock changes of a zone since 1970, and a few others."""
    marks = [start for start in offsets(name).starts[1:] if BEGINNING + 9000 < start < END - 9000][:40]
    near = [mark + step for mark in marks for step in (-3601, -1800, -1, 0, 1, 899, 1800, 3599, 7200)]
    return sorted({*near, 1, 1_000_000_000, END - 1})


@pytest.mark.parametrize("name", ODD_ZONES)
def test_the_engine_finds_the_hours_the_fold_finds(bare_store: Store, name: str) -> None:
    answers = in_engine(bare_store, WindowSize.HOUR, name, _crowded(name))

    wrong = [
        (written([at, start]), start_text, end_text)
        for at, start, start_text, end_text in answers
        if (start, second(start_text), second(end_text))
        != (oracle_time.window_bounds(at * 1000, "HOUR", name)[0], *oracle_time.window_bounds(at * 1000, "HOUR", name))
    ]
    assert wrong == []


@pytest.mark.parametrize("name", ODD_ZONES)
def test_the_engine_writes_a_time_as_the_rows_do(bare_store: Store, name: str) -> None:
    seconds = _crowded(name)
    timeline = Timeline(WindowSize.MINUTE, name, min(seconds), max(seconds))
    statement = (
        f"SELECT second, {timeline.sql_text('second')} FROM "
        "(SELECT arrayJoin({seconds:Array(Int64)}) AS second) ORDER BY second"
    )

    texts = bare_store.rows(statement, **timeline.parameters, seconds=seconds)

    assert texts == [(second, timeline.text(second)) for second in seconds]


PHASES = {
    "UTC": [("-", 0)],
    "America/New_York": [("-", 0)],
    "Asia/Kolkata": [("-", 1800)],
    "Asia/Kathmandu": [("-", 1800), ("1985-12-31T18:30:00Z", 2700)],
    "Africa/Monrovia": [("-", 930), ("1972-01-07T00:44:30Z", 0)],
    "Australia/Lord_Howe": [("2025-04-05T15:00:00Z", 1800), ("2025-10-04T15:30:00Z", 0)],
}


@pytest.mark.parametrize("name", PHASES)
def test_hour_phases(name: str) -> None:
    steps = hour_phases(name)

    found = [("-", steps.values[0])]
    found += [(written([start])[0], phase) for start, phase in zip(steps.starts[1:], steps.values[1:], strict=True)]
    assert [step for step in found if step in PHASES[name]] == PHASES[name]
    assert len(found) == len(PHASES[name]) or name == "Australia/Lord_Howe"
