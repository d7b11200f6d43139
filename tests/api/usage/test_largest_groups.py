"""A usage query may ask for the largest groups, and gets all other groups as one row (case N18)."""

from collections.abc import Callable
from typing import Any

import pytest

from engine.meters.aggregations import Aggregation
from tests.api.conftest import CSV, PORTAL_QUERY, QUERY, Create, Send, Token
from tests.harness.api_client import ApiClient

pytestmark = pytest.mark.thorough

NUMBERS: dict[str, list[float]] = {"a": [1, 7], "b": [9, 30], "": [0.5], "null": [2], "c": [3, 3], "d": [3.5]}


@pytest.fixture
def groups(meter: Create, send: Send) -> Callable[[str], None]:
    """Create a meter of an aggregation, with two days of events of one subject and fewer of another."""

    def create(aggregation: str) -> None:
        meter(aggregation=aggregation, valueProperty=None if aggregation == "COUNT" else "$.tokens")
        days = ("2025-01-01T10:00:00Z", "2025-01-02T10:00:00.5Z")
        sent = [
            ("customer-1", days[at], {"tokens": number, "model": model})
            for model, numbers in NUMBERS.items()
            for at, number in enumerate(numbers)
        ]
        send(*sent, ("customer-2", days[0], {"tokens": 1, "model": "a"}))

    return create


def without(client: ApiClient, headers: dict[str, str], path: str, models: list[str], **body: object) -> Any:
    """Return the usage of all models except these, by a query with a filter and without groups."""
    others = {**body, "advancedMeterGroupByFilters": {"model": {"$nin": models}}}
    answer = client.post(path, headers=headers, json=others)
    assert answer.status_code == 200, answer.text
    return [(row["windowStart"], row["value"]) for row in answer.json()["data"]]


@pytest.mark.parametrize("size", [None, "DAY", "MINUTE"])
@pytest.mark.parametrize("aggregation", [*Aggregation])
def test_the_largest_groups_are_answered_and_all_others_as_one(
    client: ApiClient, groups: Callable[[str], None], token: Token, aggregation: str, size: str | None
) -> None:
    """N18, contract 2.2: the others are aggregated from their events: a difference gives no average and no minimum."""
    groups(aggregation)
    mine = token("customer-1")
    range_ = {"from": "2025-01-01T00:00:00Z", "to": "2025-01-03T00:00:00Z", "windowSize": size}
    totals = client.post(PORTAL_QUERY, headers=mine, json={**range_, "windowSize": None, "groupBy": ["model"]})
    ranked = sorted(totals.json()["data"], key=lambda row: (-row["value"], row["groupBy"]["model"]))
    largest = [row["groupBy"]["model"] for row in ranked[:2]]

    body = client.post(PORTAL_QUERY, headers=mine, json={**range_, "groupBy": ["model"], "maxGroups": 3}).json()

    named = [row for row in body["data"] if row["groupBy"]["model"] is not None]
    others = [(row["windowStart"], row["value"]) for row in body["data"] if row["groupBy"]["model"] is None]
    all_rows = client.post(PORTAL_QUERY, headers=mine, json={**range_, "groupBy": ["model"]}).json()["data"]
    assert body["groupCount"] == len(NUMBERS)
    assert named == [row for row in all_rows if row["groupBy"]["model"] in largest]
    assert others == without(client, mine, PORTAL_QUERY, largest, **range_)
    assert {row["subject"] for row in body["data"]} == {"customer-1"}


def test_as_many_groups_as_may_be_are_all_named(client: ApiClient, groups: Callable[[str], None]) -> None:
    """N18: with one group more, two groups become one. An empty value and null are groups like any other."""
    groups("SUM")

    whole = client.get(f"{QUERY}?groupBy=model&maxGroups=6").json()
    short = client.get(f"{QUERY}?groupBy=model&maxGroups=5").json()

    assert [row["groupBy"]["model"] for row in whole["data"]] == ["", "a", "b", "c", "d", "null"]
    assert [(row["groupBy"]["model"], row["value"]) for row in short["data"]] == [
         ("a", 9), ("b", 39), ("c", 6), ("d", 3.5), (None, 2.5),
    ]  # fmt: skip
    assert (whole["groupCount"], short["groupCount"]) == (6, 6)


def test_subjects_can_be_the_groups(client: ApiClient, groups: Callable[[str], None], send: Send) -> None:
    """N18: which customers use the most, and all others."""
    groups("SUM")
    send(("customer-3", "2025-01-01T10:00:00Z", {"tokens": 500}))

    rows = client.get(f"{QUERY}?groupBy=subject&maxGroups=2").json()["data"]

    assert [(row["subject"], row["groupBy"], row["value"]) for row in rows] == [
        ("customer-3", {}, 500), (None, {}, 60),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("maxGroups=5", "validation error: maxGroups cannot be used without groupBy"),
        ("groupBy=model&maxGroups=1", 'parameter "maxGroups" in query has an error: number must be 2 to 1000'),
        ("groupBy=model&maxGroups=1001", 'parameter "maxGroups" in query has an error: number must be 2 to 1000'),
        ("groupBy=model&maxGroups=x", "invalid param format from: maxGroups: not a whole number"),
        ("groupBy=model&maxgroups=5", 'parameter "maxgroups" is unknown, did you mean "maxGroups"?'),
    ],
)
def test_a_wrong_number_of_groups_is_named(still: ApiClient, still_token: Token, query: str, detail: str) -> None:
    """N18."""
    for path, headers in ((QUERY, {}), (PORTAL_QUERY, still_token("a"))):
        answer = still.get(f"{path}?{query}", headers=headers)
        assert (answer.status_code, answer.json()["detail"]) == (400, detail)


def test_csv_has_no_place_for_all_other_groups(still: ApiClient) -> None:
    """N18: an empty cell already means an empty value."""
    answer = still.get(f"{QUERY}?groupBy=model&maxGroups=5", headers=CSV)

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith('parameter "maxGroups" cannot be used with text/csv')
