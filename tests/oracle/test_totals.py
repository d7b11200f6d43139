"""The oracle's totals and the bounds of queries, compared with numbers that are written out by hand.

The ledger restates the contract's 4.4, 4.5, D.6 and D.18.
"""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.harness.oracle import Query, usage
from tests.oracle.ledger import event, meter, plain, values, window

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
