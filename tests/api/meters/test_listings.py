"""Meters, and the subjects and group-by values of their events, are listed in order and within limits."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.api.conftest import Create, Send
from tests.api.meters.route import URL
from tests.harness.api_client import ApiClient


def test_meters_are_listed_in_the_order_asked_for(client: ApiClient, meter: Create) -> None:
    """Contract 2.2: by key unless asked otherwise; page and pageSize change nothing."""
    meter(slug="b", name="x", groupBy=None)
    meter(slug="a", name="z", groupBy=None, aggregation="MAX")
    meter(slug="c", name="y", groupBy=None, aggregation="AVG")

    def slugs(query: str = "") -> str:
        return "".join(item["slug"] for item in client.get(f"{URL}?{query}").json())

    assert slugs() == "abc"
    assert slugs("order=DESC") == "cba"
    assert slugs("orderBy=key&order=ASC") == "abc"
    assert slugs("orderBy=name") == "bca"
    assert slugs("orderBy=aggregation") == "cab"
    assert slugs("orderBy=createdAt") == "bac"
    assert slugs("orderBy=updatedAt&order=DESC") == "cab"
    assert slugs("page=2&pageSize=1") == "abc"


@pytest.mark.parametrize(
    "query",
    [
        "order=asc",
        "orderBy=slug",
        "includeDeleted=maybe",
        "includeDeleted=",
        "includeDeleted=TRUE",
        "pageSize=1001",
        "page=0",
        "orderby=key",
    ],
)
def test_a_wrong_parameter_of_the_listing_is_named(still: ApiClient, query: str) -> None:
    answer = still.get(f"{URL}?{query}")

    assert answer.status_code == 400
    assert query.split("=", maxsplit=1)[0] in answer.json()["detail"]


def test_subjects_are_distinct_and_sorted(client: ApiClient, meter: Create, send: Send) -> None:
    """Contract 2.2."""
    meter()
    send(
        ("b", "2025-01-01T00:00:00Z", {"tokens": 1}),
        ("a", "2025-01-02T00:00:00Z", {"tokens": 1}),
        ("b", "2025-01-03T00:00:00Z", {"tokens": 1}),
    )

    assert client.get(f"{URL}/tokens_total/subjects").json() == ["a", "b"]
    assert client.get(f"{URL}/tokens_total/subjects?from=2025-01-03T00:00:00Z").json() == ["b"]
    assert client.get(f"{URL}/tokens_total/subjects?to=2025-01-01T00:00:00Z").json() == []


@pytest.mark.parametrize("path", ["subjects", "group-by/model/values"])
@pytest.mark.parametrize(
    ("from_", "to", "detail"),
    [
        (timedelta(days=2), timedelta(days=2), "validation error: from and to cannot be equal"),
        (timedelta(days=1), timedelta(days=2), "validation error: from time must be before to time"),
    ],
)
def test_listings_need_a_range(still: ApiClient, path: str, from_: timedelta, to: timedelta, detail: str) -> None:
    """Contract 2.2."""
    now = datetime.now(UTC)

    answer = still.get(f"{URL}/tokens_total/{path}", params={"from": text(now - from_), "to": text(now - to)})

    assert (answer.status_code, answer.json()["detail"]) == (400, detail)


def test_group_by_values_are_distinct_and_sorted(client: ApiClient, meter: Create, send: Send) -> None:
    """Contract 2.2: those of the last 24 hours unless bounds are given. A missing value is the empty text."""
    meter()
    now = datetime.now(UTC)
    recent, older = text(now - timedelta(hours=2)), text(now - timedelta(days=5))
    send(
        ("a", recent, {"tokens": 1, "model": "y"}),
        ("a", recent, {"tokens": 1, "model": None}),
        ("a", recent, {"tokens": 1}),
        ("b", older, {"tokens": 1, "model": "x"}),
    )

    assert client.get(f"{URL}/tokens_total/group-by/model/values").json() == ["", "null", "y"]
    six_days = {"from": text(now - timedelta(days=6))}
    assert client.get(f"{URL}/tokens_total/group-by/model/values", params=six_days).json() == ["", "null", "x", "y"]
    two_days = {"to": text(now - timedelta(days=4, hours=12))}
    assert client.get(f"{URL}/tokens_total/group-by/model/values", params=two_days).json() == ["x"]


@pytest.mark.parametrize(
    ("key", "query", "detail"),
    [
        ("region", {}, "group by key is not valid for this meter"),
        ("subject", {}, "group by key is not valid for this meter"),
        ("model", {"from": 91}, "from time must not be more than 90 days ago"),
        ("model", {"from": 40}, "time window must be less than 30 days"),
        ("model", {"from": 80, "to": 49}, "time window must be less than 30 days"),
    ],
)
def test_group_by_values_have_limits(still: ApiClient, key: str, query: dict[str, int], detail: str) -> None:
    """Contract 2.2, D.24."""
    now = datetime.now(UTC)
    bounds = {name: text(now - timedelta(days=days)) for name, days in query.items()}

    answer = still.get(f"{URL}/tokens_total/group-by/{key}/values", params=bounds)

    assert (answer.status_code, answer.json()["detail"]) == (400, f"validation error: {detail}")


def text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
