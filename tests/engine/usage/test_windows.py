"""Windows in all zones: written out for unusual clock changes, and otherwise compared with zoneinfo's transitions.

Contract 4.4.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files
from itertools import pairwise
from typing import Any
from zoneinfo import _zoneinfo  # type: ignore[attr-defined] # the pure-Python one, which shows its transitions

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidRequest
from engine.instants import BEGINNING, DAY_SECONDS, END
from engine.store.clickhouse import Store
from engine.usage.timeline import Timeline
from engine.usage.windows import WindowSize, boundaries, largest_common_step
from engine.usage.zones import _zone_names, hour_phases, offsets, zone
from tests.harness import oracle_time
from tests.harness.long_form import LONG

ZONES = sorted(_zone_names()) if LONG else sorted(_zone_names())[::10]
ODD_ZONES = (
    *("America/New_York", "Europe/Budapest", "Europe/London", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Tehran"),
    *("Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia", "America/St_Johns", "Africa/Monrovia"),
    *("Africa/Cairo", "America/Caracas", "Antarctica/Troll", "Pacific/Chatham", "Asia/Pyongyang", "UTC"),
)


def second(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp())


def written(seconds: list[int]) -> list[str]:
    return [f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}" for at in seconds]


def asked(size: WindowSize, name: str, first: str, last: str) -> list[str]:
    return written(list(boundaries(size, name, second(first), second(last))))


# --- days and months --------------------------------------------------------------------------------------------------

DAYS = {
    "one UTC day": (
        "UTC",
        "2025-01-01T00:00:00Z",
        "2025-01-01T23:59:59Z",
        ["2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z"],
    ),
    "the bound itself opens the next day": (
        *("UTC", "2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z"),
        ["2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z", "2025-01-03T00:00:00Z"],
    ),
    "New York springs forward: 23 hours": (
        *("America/New_York", "2025-03-08T12:00:00Z", "2025-03-10T04:00:00Z"),
        ["2025-03-08T05:00:00Z", "2025-03-09T05:00:00Z", "2025-03-10T04:00:00Z", "2025-03-11T04:00:00Z"],
    ),
    "New York falls back: 25 hours": (
        *("America/New_York", "2025-11-02T04:00:00Z", "2025-11-03T04:59:59Z"),
        ["2025-11-02T04:00:00Z", "2025-11-03T05:00:00Z"],
    ),
    "Kolkata begins at half past": (
        *("Asia/Kolkata", "2025-06-01T00:00:00Z", "2025-06-01T18:30:00Z"),
        ["2025-05-31T18:30:00Z", "2025-06-01T18:30:00Z", "2025-06-02T18:30:00Z"],
    ),
    "Kathmandu moves by a quarter hour at New Year 1986": (
        *("Asia/Kathmandu", "1985-12-31T00:00:00Z", "1986-01-01T12:00:00Z"),
        ["1985-12-30T18:30:00Z", "1985-12-31T18:30:00Z", "1986-01-01T18:15:00Z"],
    ),
    "Lord Howe falls back by half an hour": (
        *("Australia/Lord_Howe", "2025-04-05T13:00:00Z", "2025-04-06T13:29:59Z"),
        ["2025-04-05T13:00:00Z", "2025-04-06T13:30:00Z"],
    ),
    "Lord Howe springs forward by half an hour": (
        *("Australia/Lord_Howe", "2025-10-04T13:30:00Z", "2025-10-05T12:59:59Z"),
        ["2025-10-04T13:30:00Z", "2025-10-05T13:00:00Z"],
    ),
    "Sao Paulo has no midnight: the day begins at one": (
        *("America/Sao_Paulo", "2018-11-04T02:59:59Z", "2018-11-04T03:00:00Z"),
        ["2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"],
    ),
    "Sao Paulo is set back from midnight: the hour before it counts twice": (
        *("America/Sao_Paulo", "2018-02-17T02:00:00Z", "2018-02-18T02:59:59Z"),
        ["2018-02-17T02:00:00Z", "2018-02-18T03:00:00Z"],
    ),
    "Apia skips the 30th of December 2011": (
        *("Pacific/Apia", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"),
        ["2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"],
    ),
    "St Johns springs forward a minute past midnight": (
        *("America/St_Johns", "2010-03-14T03:30:00Z", "2010-03-15T02:29:59Z"),
        ["2010-03-14T03:30:00Z", "2010-03-15T02:30:00Z"],
    ),
    "St Johns falls back over midnight: the date does not go back": (
        *("America/St_Johns", "2010-11-07T02:29:59Z", "2010-11-07T03:00:00Z"),
        ["2010-11-06T02:30:00Z", "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z"],
    ),
    "Monrovia's days begin at odd seconds": (
        *("Africa/Monrovia", "1972-01-05T12:00:00Z", "1972-01-07T12:00:00Z"),
        ["1972-01-05T00:44:30Z", "1972-01-06T00:44:30Z", "1972-01-07T00:44:30Z", "1972-01-08T00:00:00Z"],
    ),
    "the first instant": (
        "UTC",
        "1970-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        ["1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z"],
    ),
    "the first instant in New York": (
        *("America/New_York", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ["1969-12-31T05:00:00Z", "1970-01-01T05:00:00Z"],
    ),
    "the first instant in London, on summer time all winter": (
        *("Europe/London", "1970-01-01T00:00:00Z", "1970-01-01T23:00:00Z"),
        ["1969-12-31T23:00:00Z", "1970-01-01T23:00:00Z", "1970-01-02T23:00:00Z"],
    ),
    "the last second": (
        "UTC",
        "2099-12-31T23:59:59Z",
        "2099-12-31T23:59:59Z",
        ["2099-12-31T00:00:00Z", "2100-01-01T00:00:00Z"],
    ),
    "the last second in Auckland is in the next century": (
        *("Pacific/Auckland", "2099-12-31T23:59:59Z", "2099-12-31T23:59:59Z"),
        ["2099-12-31T11:00:00Z", "2100-01-01T11:00:00Z"],
    ),
    "the last spring of New York": (
        *("America/New_York", "2099-03-08T12:00:00Z", "2099-03-08T12:00:00Z"),
        ["2099-03-08T05:00:00Z", "2099-03-09T04:00:00Z"],
    ),
}


@pytest.mark.parametrize(("name", "first", "last", "expected"), DAYS.values(), ids=DAYS)
def test_days(name: str, first: str, last: str, expected: list[str]) -> None:
    assert asked(WindowSize.DAY, name, first, last) == expected


MONTHS = {
    "Budapest over a winter and a spring": (
        *("Europe/Budapest", "2025-01-15T00:00:00Z", "2025-04-15T00:00:00Z"),
        [
            "2024-12-31T23:00:00Z",
            "2025-01-31T23:00:00Z",
            "2025-02-28T23:00:00Z",
            "2025-03-31T22:00:00Z",
            "2025-04-30T22:00:00Z",
        ],
    ),
    "Budapest over an autumn": (
        *("Europe/Budapest", "2025-10-31T22:59:59Z", "2025-10-31T23:00:00Z"),
        ["2025-09-30T22:00:00Z", "2025-10-31T23:00:00Z", "2025-11-30T23:00:00Z"],
    ),
    "a leap February": (
        "UTC",
        "2024-02-29T23:59:59Z",
        "2024-02-29T23:59:59Z",
        ["2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"],
    ),
    "a December that lost a day": (
        *("Pacific/Apia", "2011-12-31T00:00:00Z", "2011-12-31T00:00:00Z"),
        ["2011-12-01T10:00:00Z", "2011-12-31T10:00:00Z"],
    ),
    "Apia's month begins where the skipped day was": (
        *("Pacific/Apia", "2011-12-31T10:00:00Z", "2011-12-31T10:00:00Z"),
        ["2011-12-31T10:00:00Z", "2012-01-31T10:00:00Z"],
    ),
    "Monrovia's last odd month": (
        *("Africa/Monrovia", "1972-01-15T00:00:00Z", "1972-01-15T00:00:00Z"),
        ["1972-01-01T00:44:30Z", "1972-02-01T00:00:00Z"],
    ),
    "the first month in New York": (
        *("America/New_York", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ["1969-12-01T05:00:00Z", "1970-01-01T05:00:00Z"],
    ),
    "the last month": (
        "UTC",
        "2099-12-31T23:59:59Z",
        "2099-12-31T23:59:59Z",
        ["2099-12-01T00:00:00Z", "2100-01-01T00:00:00Z"],
    ),
}


@pytest.mark.parametrize(("name", "first", "last", "expected"), MONTHS.values(), ids=MONTHS)
def test_months(name: str, first: str, last: str, expected: list[str]) -> None:
    assert asked(WindowSize.MONTH, name, first, last) == expected


INSTANTS = st.integers(BEGINNING, END - 1)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(ODD_ZONES),
    size=st.sampled_from([WindowSize.DAY, WindowSize.MONTH]),
    first=INSTANTS,
    days=st.integers(0, 100),
    beside=st.integers(0, 86_400),
)
def test_windows_tile_time_and_do_not_depend_on_what_else_is_asked(
    name: str, size: WindowSize, first: int, days: int, beside: int
) -> None:
    last = min(first + days * DAY_SECONDS + beside, END - 1)

    marks = list(boundaries(size, name, first, last))

    assert marks == sorted(set(marks))
    assert marks[0] <= first < marks[1]
    assert marks[-2] <= last < marks[-1]
    for start, end in pairwise(marks):
        assert boundaries(size, name, start, end - 1) == (start, end)
        assert oracle_time.window_bounds(start * 1000, size, name) == (start, end)


# --- hours and minutes, as the engine computes them -------------------------------------------------------------------


def in_engine(store: Store, size: WindowSize, name: str, seconds: list[int]) -> list[tuple[int, int, str, str]]:
    """Return (second, window start, both ends as text), computed by the expressions of a usage statement."""
    timeline = Timeline(size, name, min(seconds), max(seconds))
    statement = (
        f"SELECT second, start, {timeline.start_text}, {timeline.end_text} FROM "
        f"(SELECT second, {timeline.start('second')} AS start FROM "
        "(SELECT arrayJoin({seconds:Array(Int64)}) AS second)) ORDER BY second"
    )
    return [(row[0], row[1], row[2], row[3]) for row in store.rows(statement, **timeline.parameters, seconds=seconds)]


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


STEPS = {
    "a total": (None, "Africa/Monrovia", "1971-01-01T00:00:00Z", "1971-02-01T00:00:00Z", 86_400),
    "minutes": (WindowSize.MINUTE, "Asia/Kolkata", "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z", 60),
    "hours": (WindowSize.HOUR, "America/New_York", "2025-01-01T00:00:00Z", "2025-12-01T00:00:00Z", 900),
    "hours at half past": (WindowSize.HOUR, "Asia/Kolkata", "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z", 900),
    "hours at odd seconds": (WindowSize.HOUR, "Africa/Monrovia", "1971-01-01T00:00:00Z", "1971-02-01T00:00:00Z", 1),
    "hours after odd seconds": (
        WindowSize.HOUR,
        "Africa/Monrovia",
        "1973-01-01T00:00:00Z",
        "1973-02-01T00:00:00Z",
        900,
    ),
    "half hours": (WindowSize.HOUR, "Australia/Lord_Howe", "2025-04-05T00:00:00Z", "2025-04-07T00:00:00Z", 900),
    "days of UTC": (WindowSize.DAY, "UTC", "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z", 86_400),
    "months of UTC": (WindowSize.MONTH, "UTC", "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z", 86_400),
    "days of a London winter": (
        WindowSize.DAY,
        "Europe/London",
        "2025-01-01T00:00:00Z",
        "2025-02-01T00:00:00Z",
        86_400,
    ),
    "days of a London summer": (WindowSize.DAY, "Europe/London", "2025-06-01T00:00:00Z", "2025-07-01T00:00:00Z", 900),
    "days of New York": (WindowSize.DAY, "America/New_York", "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z", 900),
    "months of Kathmandu": (WindowSize.MONTH, "Asia/Kathmandu", "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z", 900),
    "days at odd seconds": (WindowSize.DAY, "Africa/Monrovia", "1971-01-01T00:00:00Z", "1971-01-03T00:00:00Z", 1),
    "a day changed at a minute past": (
        WindowSize.DAY,
        "America/St_Johns",
        "2010-11-06T12:00:00Z",
        "2010-11-08T00:00:00Z",
        900,
    ),
}


@pytest.mark.parametrize(("size", "name", "first", "last", "step"), STEPS.values(), ids=STEPS)
def test_the_coarsest_step_that_divides_every_boundary(
    size: WindowSize | None, name: str, first: str, last: str, step: int
) -> None:
    assert largest_common_step(size, name, second(first), second(last)) == step


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(ODD_ZONES),
    size=st.sampled_from([WindowSize.DAY, WindowSize.MONTH]),
    first=INSTANTS,
    days=st.integers(0, 500),
)
def test_the_step_divides_every_boundary(name: str, size: WindowSize, first: int, days: int) -> None:
    last = min(first + days * DAY_SECONDS, END - 1)

    step = largest_common_step(size, name, first, last)

    assert {mark % step for mark in boundaries(size, name, first, last)} == {0}


# --- zones ------------------------------------------------------------------------------------------------------------

UNKNOWN = [
    "Mars/Phobos",
    "",
    "america/new_york",
    "Europe",
    "../../etc/passwd",
    "UTC\0",
    "UTC ",
    "zones",
    "Europe/",
    "+01",
]


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_zone_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        zone(name)

    assert str(refused.value) == f"invalid time zone: unknown time zone {name}"


def _plain_zone(name: str) -> Any:
    with files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        return _zoneinfo.ZoneInfo.from_file(file, key=name)


def _transitions(info: Any) -> Iterator[tuple[int, int]]:
    """Return (first second, offset from then on) in time order, from zoneinfo's pure-Python reader."""
    after = [round(kind.utcoff.total_seconds()) for kind in info._ttinfos]
    yield from zip(info._trans_utc, after, strict=True)
    rule = info._tz_after
    if not hasattr(rule, "transitions"):
        return
    last = info._trans_utc[-1] if info._trans_utc else BEGINNING
    standard, summer = (round(kind.utcoff.total_seconds()) for kind in (rule.std, rule.dst))
    for year in range(1970, 2101):
        begins, ends = rule.transitions(year)  # in local time of the offset that was valid until then
        changes = sorted([(int(begins) - standard, summer), (int(ends) - summer, standard)])
        yield from (change for change in changes if change[0] > last)


@pytest.mark.parametrize("name", ZONES)
def test_every_change_of_a_zones_offset_until_2100_is_found(name: str) -> None:
    info = _plain_zone(name)
    before = round(info._tti_before.utcoff.total_seconds()) if info._tti_before else None
    expected = []
    for at, offset in _transitions(info):
        if offset != before and BEGINNING - 40 * DAY_SECONDS < at < END:
            expected.append((at, offset))
        before = offset

    steps = offsets(name)

    assert [step for step in zip(steps.starts[1:], steps.values[1:], strict=True) if step[0] < END] == expected
