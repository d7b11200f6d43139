"""The oracle compared with itself: what holds for every generated event, meter and query."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness import strategies
from tests.harness.oracle import Event, Fold, Meter, Query, deduplicate, usage
from tests.harness.oracle_time import EPOCH, NANOSECONDS, instant, window_bounds
from tests.harness.oracle_values import extract
from tests.oracle.ledger import QUICK

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
