"""The oracle's groups, their order and filters, compared with rows that are written out by hand.

The ledger restates the contract's 2.2, 4.8 and D.7.
"""

from tests.harness.oracle import Query, usage
from tests.oracle.ledger import event, meter, written


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
