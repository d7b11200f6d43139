"""The oracle's windows in all zones, and the times of events, compared with instants that are written out by hand.

The ledger restates the contract's 4.4, 4.7 and D.18.
"""

import pytest

from tests.oracle.ledger import bounds, event

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
