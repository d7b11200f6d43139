"""Meters over HTTP: create, list, show, change, delete, and list the subjects and values of their events."""

import dataclasses
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal

from api.app import create_app
from api.dependencies import Dependencies
from tests.api.conftest import KEY, MemoryLog, build
from tests.harness.api_client import ApiClient

URL = "/api/v1/meters"
ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d*[1-9])?Z\Z")
UNKNOWN_ID = "01G65Z755AFWAKHE12NY0CQ9FH"
Create = Callable[..., dict[str, Any]]
Send = Callable[..., None]


def test_a_meter_is_created(client: ApiClient) -> None:
    """D.4, contract 2.1: 201, name from the slug, members without a value left out."""
    definition = {"slug": "requests", "eventType": "request", "aggregation": "COUNT"}

    answer = client.post(URL, json={**definition, "windowSize": "DAY"})

    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert ULID.match(body.pop("id"))
    assert RFC3339.match(body.pop("createdAt"))
    assert RFC3339.match(body.pop("updatedAt"))
    assert body == {**definition, "name": "requests"}


def test_a_meter_is_shown_in_full(client: ApiClient) -> None:
    """Contract 2.1."""
    definition = {
        "slug": "tokens_total",
        "name": "Tokens",
        "description": "AI tokens",
        "aggregation": "SUM",
        "eventType": "prompt",
        "eventFrom": "2025-01-01T02:00:00.500+02:00",
        "valueProperty": "$.tokens",
        "groupBy": {"model": "$.model"},
        "metadata": {"team": "billing"},
    }
    created = client.post(URL, json=definition).json()

    shown = client.get(f"{URL}/tokens_total").json()

    assert shown == created
    assert shown == {**shown, **definition, "eventFrom": "2025-01-01T00:00:00.5Z"}
    assert client.get(f"{URL}/{shown['id']}").json() == shown
    assert client.get(f"{URL}/{shown['id'].lower()}").json() == shown


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"slug": "Tokens"}, "slug"),
        ({"slug": "a__b"}, "slug"),
        ({"slug": "x" * 65}, "slug"),
        ({"slug": None}, "slug"),
        ({"aggregation": "MEDIAN"}, "aggregation"),
        ({"aggregation": None}, "aggregation"),
        ({"eventType": ""}, "eventType"),
        ({"name": "x" * 257}, "name"),
        ({"description": ""}, "description must not be empty string"),
        ({"eventFrom": "2025-01-01T00:00:00"}, "eventFrom"),
        ({"eventFrom": "0001-01-01T00:00:00+01:00"}, "eventFrom"),
        (
            {"aggregation": "COUNT"},
            "invalid meter aggregation: meter value property is not allowed when the aggregation is count",
        ),
        (
            {"valueProperty": None},
            "invalid meter aggregation: meter value property is required when the aggregation is not count",
        ),
        ({"valueProperty": "tokens"}, "invalid meter aggregation: meter value property must start with $"),
        ({"valueProperty": "$.a-b"}, "invalid JSONPath: $.a-b; write $['a-b']"),
        ({"groupBy": {"model": "$..a"}}, "invalid JSONPath: $..a"),
        (
            {"groupBy": {"a b": "$.a"}},
            "invalid meter group by: meter group by key a b is invalid, "
            "only alphanumeric and underscore characters are allowed",
        ),
        (
            {"groupBy": {"model": "model"}},
            "invalid meter group by: meter group by value must start with $ for key model",
        ),
        ({"groupBy": {"subject": "$.s"}}, "invalid meter group by: meter group by key subject is reserved"),
        ({"groupBy": {"customer_id": "$.s"}}, "invalid meter group by: meter group by key customer_id is reserved"),
        (
            {"groupBy": {"model": "$.tokens"}},
            "invalid meter group by: meter group by value model cannot be the same as value property",
        ),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_wrong_definition_is_refused(still: ApiClient, change: dict[str, object], detail: str) -> None:
    """Contract 2.1, D.4."""
    definition = {"slug": "tokens", "eventType": "prompt", "aggregation": "SUM", "valueProperty": "$.tokens", **change}

    answer = still.post(URL, json={name: value for name, value in definition.items() if value is not None})

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("validation error: ")
    assert detail in answer.json()["detail"]
    assert answer.json()["code"] == "invalid-meter"
    assert [item["slug"] for item in still.get(URL).json()] == ["tokens_total"]


@pytest.mark.parametrize(
    ("body", "content_type", "detail"),
    [
        (b"{", "application/json", "invalid request body: not JSON: "),
        (b"[]", "application/json", "invalid request body: must be a JSON object"),
        (b"{}", "text/plain", "invalid content type: text/plain"),
        (
            b'{"eventtype": "a"}',
            "application/json",
            'invalid request body: "eventtype" is unknown, did you mean "eventType"?',
        ),
    ],
)
def test_a_wrong_body_is_refused(still: ApiClient, body: bytes, content_type: str, detail: str) -> None:
    answer = still.post(URL, content=body, headers={"Content-Type": content_type})

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(detail)


def test_a_slug_is_taken_once(client: ApiClient, meter: Create) -> None:
    """Contract 2.2."""
    meter()

    answer = client.post(URL, json={"slug": "tokens_total", "eventType": "x", "aggregation": "COUNT"})

    assert answer.status_code == 409
    assert answer.json()["detail"] == "conflict error: meter with the same slug already exists"
    assert (answer.json()["code"], answer.json()["title"]) == ("conflict", "Conflict")


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


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("name", ["unknown", UNKNOWN_ID])
def test_an_unknown_meter_is_404(still: ApiClient, method: str, name: str) -> None:
    """Contract 2.2."""
    answer = still.request(method, f"{URL}/{name}", json={} if method == "PUT" else None)

    assert answer.status_code == 404
    assert answer.json()["detail"] == f"not found error: meter not found: {name}"
    assert (answer.json()["title"], answer.json()["code"]) == ("Not Found", "not-found")


@pytest.mark.parametrize("name", ["Tokens", "a__b", "a-b", "x" * 65, "9" + UNKNOWN_ID[1:], "%E2%82%AC", "a%0A"])
def test_what_is_neither_slug_nor_ulid_is_400(still: ApiClient, name: str) -> None:
    """Contract 2.2."""
    answer = still.get(f"{URL}/{name}")

    assert answer.status_code == 400
    assert "meterIdOrSlug" in answer.json()["detail"]


def test_put_clears_what_is_left_out_but_for_the_description(client: ApiClient, meter: Create) -> None:
    """Contract 2.2: name → slug, description kept, group-by and metadata cleared."""
    created = meter(name="Tokens", description="kept", metadata={"team": "billing"})

    answer = client.put(f"{URL}/tokens_total", json={})

    assert answer.status_code == 200
    body = answer.json()
    assert (body["name"], body["description"]) == ("tokens_total", "kept")
    assert "groupBy" not in body
    assert "metadata" not in body
    assert (body["id"], body["createdAt"]) == (created["id"], created["createdAt"])
    assert client.get(f"{URL}/tokens_total").json() == body


def test_put_changes_the_group_by(client: ApiClient, meter: Create, send: Send) -> None:
    """D.4: the changed meter answers by its new key at once, for events it had before."""
    meter()
    send(("customer-1", "2025-01-01T00:00:00Z", {"tokens": 2, "model": "a", "region": "eu"}))

    answer = client.put(f"{URL}/tokens_total", json={"name": "New", "groupBy": {"region": "$.region"}})

    assert answer.json()["groupBy"] == {"region": "$.region"}
    rows = client.get(f"{URL}/tokens_total/query?groupBy=region").json()["data"]
    assert [(row["value"], row["groupBy"]) for row in rows] == [(2, {"region": "eu"})]


def test_a_meter_sent_back_whole_is_accepted(client: ApiClient, meter: Create) -> None:
    """Contract 0: read-only members in a body are tolerated."""
    created = meter(eventFrom="2025-01-01T00:00:00Z", description="d", metadata={"a": "b"})

    body = client.put(f"{URL}/{created['id']}", json=created).json()

    assert {**body, "updatedAt": ""} == {**created, "updatedAt": ""}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slug", "other"),
        ("aggregation", "MAX"),
        ("aggregation", "COUNT"),
        ("eventType", "other"),
        ("valueProperty", "$.other"),
        ("valueProperty", ""),
        ("eventFrom", "2025-01-01T00:00:00Z"),
    ],
)
def test_what_is_fixed_cannot_be_changed(still: ApiClient, name: str, value: str) -> None:
    """Contract 2.2: refused, never ignored."""
    answer = still.put(f"{URL}/tokens_total", json={name: value})

    assert answer.status_code == 400
    assert answer.json()["detail"] == f"validation error: {name} cannot be changed"


def test_a_deleted_meter_frees_its_slug(client: ApiClient, meter: Create) -> None:
    """Contract 2.2: again by slug 404, by id 204; shown by id only; listed on demand."""
    created = meter()

    assert client.delete(f"{URL}/tokens_total").status_code == 204

    assert client.delete(f"{URL}/tokens_total").status_code == 404
    assert client.delete(f"{URL}/{created['id']}").status_code == 204
    assert client.get(f"{URL}/tokens_total").status_code == 404
    assert RFC3339.match(client.get(f"{URL}/{created['id']}").json()["deletedAt"])
    assert client.get(f"{URL}/{created['id']}/query").status_code == 404
    assert client.put(f"{URL}/{created['id']}", json={}).status_code == 404
    assert client.get(URL).json() == []
    assert [item["id"] for item in client.get(f"{URL}?includeDeleted=true").json()] == [created["id"]]
    assert meter()["id"] != created["id"]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_slug_that_is_also_the_id_of_another_meter_changes_neither(
    client: ApiClient, meter: Create, method: str
) -> None:
    """Like case S15: ids are read in upper and lower case, and a slug may look like an id."""
    first = meter(slug="first")
    second = meter(slug=first["id"].lower())
    options: dict[str, Any] = {"json": {**second, "name": "changed"}} if method == "PUT" else {}

    answer = client.request(method, f"{URL}/{second['slug']}", **options)

    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert sorted(item["name"] for item in client.get(URL).json()) == sorted(["first", second["slug"]])
    assert client.delete(f"{URL}/{first['id']}").status_code == 204
    assert [item["slug"] for item in client.get(URL).json()] == [second["slug"]]


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


@pytest.mark.parametrize(("event_type", "status"), [("_system.x", 400), ("my_system", 201), ("internal", 400)])
def test_reserved_event_types_are_refused(
    portal: BlockingPortal, dependencies: Dependencies, event_type: str, status: int
) -> None:
    """Contract 2.1."""
    settings = dependencies.settings.model_copy(update={"reserved_event_types": ["^_", "^internal$"]})
    app = create_app(dataclasses.replace(dependencies, settings=settings))

    answer = ApiClient(portal, app, {"Authorization": f"Bearer {KEY}"}).post(
        "/api/v1/meters", json={"slug": "m", "aggregation": "COUNT", "eventType": event_type}
    )

    assert answer.status_code == status
    if status == 400:
        assert answer.json()["detail"].startswith(
            f"validation error: invalid event type: event type '{event_type}' matched reserved pattern '"
        )


# two processes on one store


@pytest.fixture
def start_another(portal: BlockingPortal, dependencies: Dependencies) -> Callable[[], ApiClient]:
    """Start a second process, which reads the registry once. Return its client."""

    def start() -> ApiClient:
        other = build(dependencies.store, dependencies.settings, MemoryLog(dependencies.store, dependencies.settings))
        return ApiClient(portal, create_app(other), {"Authorization": f"Bearer {KEY}"})

    return start


def test_a_put_changes_the_meter_of_the_name_by_now(
    client: ApiClient, meter: Create, dependencies: Dependencies, start_another: Callable[[], ApiClient]
) -> None:
    """Contract 2.2: a meter that another process has deleted and created again keeps what a PUT cannot change."""
    meter(slug="m", eventType="old")
    elsewhere = start_another()
    client.delete(f"{URL}/m")
    created = client.post(URL, json={"slug": "m", "eventType": "new", "aggregation": "COUNT"}).json()

    renamed = elsewhere.put(f"{URL}/m", json={"name": "renamed"})
    repeated = elsewhere.put(f"{URL}/m", json={"eventType": "old"})

    assert renamed.status_code == 200
    dependencies.registry.refresh()
    shown = client.get(f"{URL}/m").json()
    assert shown == {**created, "name": "renamed", "updatedAt": shown["updatedAt"]}
    assert repeated.json()["detail"] == "validation error: eventType cannot be changed"


def test_a_put_keeps_what_another_process_wrote_before(
    client: ApiClient, meter: Create, start_another: Callable[[], ApiClient]
) -> None:
    """Contract 2.2: a description that is left out is kept, even if another process wrote it."""
    meter(slug="m")
    elsewhere = start_another()
    client.put(f"{URL}/m", json={"description": "written a moment ago"})

    changed = elsewhere.put(f"{URL}/m", json={"name": "renamed"}).json()

    assert (changed["name"], changed["description"]) == ("renamed", "written a moment ago")


def test_a_wrong_path_is_told_before_a_slug_in_use(client: ApiClient, meter: Create) -> None:
    """Contract 2.1: the wrong path must not appear only after the slug was corrected."""
    meter(slug="m")

    answer = client.post(URL, json={"slug": "m", "eventType": "t", "aggregation": "SUM", "valueProperty": "$..a"})

    assert (answer.status_code, answer.json()["detail"]) == (400, "validation error: invalid JSONPath: $..a")
