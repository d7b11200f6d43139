"""Days and months in zones with unusual clock changes: written out, and generated ones compared with the oracle.

Contract 4.4.
"""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.instants import DAY_SECONDS, END
from engine.usage.windows import WindowSize, boundaries
from tests.engine.usage.zones_and_seconds import INSTANTS, ODD_ZONES, second, written
from tests.harness import oracle_time


def asked(size: WindowSize, name: str, first: str, last: str) -> list[str]:
    return written(list(boundaries(size, name, second(first), second(last))))


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
