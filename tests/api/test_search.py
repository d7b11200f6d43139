"""The second event listing: filters, pages and refusals; and the counts of today's events."""

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from tests.api.conftest import BATCH, MemoryLog, event
from tests.harness.api_client import ApiClient

URL = "/api/v2/events"
Take = Callable[[list[dict[str, object]]], None]


@pytest.fixture
def take(client: ApiClient, log: MemoryLog) -> Take:
    """Store the given events."""

    def ingest(events: list[dict[str, object]]) -> None:
        answer = client.post("/api/v1/events", content=orjson.dumps(events), headers={"Content-Type": BATCH})
        assert answer.status_code == 204, answer.text
        log.drain()

    return ingest


@pytest.fixture
def events(take: Take) -> None:
    take(
        [
            {**event("a-1", "anna", "2020-01-01T00:00:00Z", {}), "source": "old"},
            event("a-2", "anna", "2025-01-01T00:00:00Z", {"tokens": "x"}),
            event("b-1", "bert", "2025-01-02T00:00:00Z", {}, "other"),
            event("b-2", "bert", "2025-01-02T00:00:00Z", {}),
        ]
    )


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["event"]["id"] for item in answer.json()["items"]]


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["b-2", "b-1", "a-2", "a-1"]),
        ({"id": {"$eq": "a-2"}}, ["a-2"]),
        ({"id": {"$like": "a%"}}, ["a-2", "a-1"]),
        ({"subject": {"$in": ["anna", "nobody"]}}, ["a-2", "a-1"]),
        ({"subject": {"$nin": ["anna"]}, "type": {"$ne": "other"}}, ["b-2"]),
        ({"type": {"$ilike": "OTH%"}}, ["b-1"]),
        ({"source": {"$or": [{"$eq": "old"}, {"$eq": "older"}]}}, ["a-1"]),
        ({"time": {"$gte": "2025-01-01T00:00:00Z"}}, ["b-2", "b-1", "a-2"]),
        (
            {"time": {"$and": [{"$gt": "2020-01-01T00:00:00Z"}, {"$lt": "2025-01-02T00:00:00Z"}]}},
            ["a-2"],
        ),
        ({"ingestedAt": {"$lt": "2025-01-01T00:00:00Z"}}, []),
        ({"subject": {}, "type": None}, ["b-2", "b-1", "a-2", "a-1"]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_events_are_searched(client: ApiClient, filters: object, found: list[str]) -> None:
    """Contract 3.2: events of any age, the latest time first. At the same time, the last one in the log comes first."""
    assert ids(client.get(URL, params={"filter": orjson.dumps(filters).decode(), "clientId": "c"})) == found


@pytest.mark.usefixtures("events")
def test_an_item_is_what_the_first_listing_shows(client: ApiClient, meter: Callable[..., Any]) -> None:
    """Contract 3.2."""
    meter()

    (item,) = client.get(URL, params={"filter": '{"id":{"$eq":"a-2"}}'}).json()["items"]

    assert sorted(item) == ["event", "ingestedAt", "storedAt", "validationError"]
    assert item["event"]["data"] == {"tokens": "x"}
    assert item["validationError"] == "invalid event: value cannot be parsed as float64: x"


def pages(client: ApiClient, limit: int) -> Iterator[dict[str, Any]]:
    cursor: dict[str, str] = {}
    while True:
        page = client.get(URL, params={"limit": str(limit), **cursor}).json()
        yield page
        if "nextCursor" not in page:
            return
        cursor = {"cursor": page["nextCursor"]}


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize(("limit", "sizes"), [(1, [1, 1, 1, 1, 0]), (3, [3, 1]), (4, [4, 0]), (100, [4])])
def test_a_full_page_names_the_next(client: ApiClient, limit: int, sizes: list[int]) -> None:
    """Contract 3.2: no event is missing or repeated, whatever arrives between two pages."""
    found = list(pages(client, limit))

    assert [len(page["items"]) for page in found] == sizes
    assert [item["event"]["id"] for page in found for item in page["items"]] == ["b-2", "b-1", "a-2", "a-1"]


def test_pages_go_on_where_they_ended_though_events_arrive(client: ApiClient, take: Take) -> None:
    """Contract 3.2."""
    numbers = itertools.count()
    for _ in range(5):
        take([event(f"e{next(numbers)}", "anna", "2025-01-01T00:00:00Z", {})])
    seen = []

    for page in pages(client, 2):
        seen += [item["event"]["id"] for item in page["items"]]
        take([event(f"late{next(numbers)}", "anna", "2025-01-03T00:00:00Z", {})])

    assert seen == ["e4", "e3", "e2", "e1", "e0"]


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ({"cursor": "x"}, "validation error: cursor is invalid"),
        ({"cursor": ""}, "validation error: cursor is invalid"),
        ({"limit": "0"}, 'parameter "limit" in query has an error: number must be 1 to 100'),
        ({"Filter": "{}"}, 'parameter "Filter" is unknown, did you mean "filter"?'),
        ({"filter": "x"}, "invalid param format from: filter: not JSON: "),
        ({"filter": "[]"}, "invalid param format from: filter: not a JSON object"),
        ({"filter": '{"Type":{"$eq":"x"}}'}, 'validation error: filter: "Type" is unknown, did you mean "type"?'),
        ({"filter": '{"data":{"$eq":"x"}}'}, 'validation error: filter: "data" is unknown'),
        ({"filter": '{"customerId":{"$in":["x"]}}'}, 'parameter "filter": customerId is not supported'),
        ({"filter": '{"type":{"$eq":"x","$ne":"y"}}'}, "filter: type: filter is invalid: multiple operators are set"),
        ({"filter": '{"type":{"$eq":""}}'}, "filter: type: filter is invalid: format mismatch"),
        (
            {"filter": '{"time":{"$eq":"2025-01-01T00:00:00Z"}}'},
            "filter: time: filter is invalid: unknown operator $eq",
        ),
        ({"filter": '{"time":{"$gt":"2025-01-01"}}'}, "filter: time: filter is invalid: $gt not an RFC 3339 timestamp"),
        (
            {"filter": '{"type":{"$and":[{"$or":[{"$eq":"a"}]}]}}'},
            "filter: type: filter complexity exceeds maximum allowed depth",
        ),
        ({"clientId": ""}, 'parameter "clientId" in query has an error: length must be 1 to 36'),
    ],
    ids=str,
)
def test_a_wrong_search_is_refused(still: ApiClient, query: dict[str, str], detail: str) -> None:
    """Contract 3.2, D.8, D.10."""
    answer = still.get(URL, params=query)

    assert answer.status_code == 400
    assert detail in answer.json()["detail"]


def test_the_events_of_today_are_counted_by_subject(client: ApiClient, take: Take) -> None:
    """Contract 3.6."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday = today - timedelta(milliseconds=1)
    take(
        [event(f"a{at}", 'an"na', today.isoformat(), {}) for at in range(2)]
        + [event("b", "bert", today.isoformat(), {}), event("c", "bert", yesterday.isoformat(), {})]
    )

    answer = client.get("/api/v1/debug/metrics", headers={"Accept": "application/openmetrics-text"})

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert [line for line in answer.text.splitlines() if not line.startswith("#")] == [
        'openmeter_events_total{subject="an\\"na"} 2.0',
        'openmeter_events_total{subject="bert"} 1.0',
    ]
    assert answer.text.endswith("# EOF\n")
