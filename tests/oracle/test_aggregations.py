"""The oracle's aggregations, compared with values that are written out by hand.

The ledger restates the contract's 4.2, 4.3, 4.6 and D.5.
"""

from dataclasses import replace

import pytest

from tests.harness.oracle import Event, Query, deduplicate, usage
from tests.oracle.ledger import event, meter, plain, values, window

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
