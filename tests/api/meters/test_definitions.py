"""Meters are created and shown; a wrong definition, a slug in use and an unknown name are refused."""

import dataclasses
import re

import pytest
from anyio.from_thread import BlockingPortal

from api.app import create_app
from api.dependencies import Dependencies
from tests.api.conftest import KEY, Create
from tests.api.meters.route import RFC3339, URL
from tests.harness.api_client import ApiClient

ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")
UNKNOWN_ID = "01G65Z755AFWAKHE12NY0CQ9FH"


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


def test_a_wrong_path_is_told_before_a_slug_in_use(client: ApiClient, meter: Create) -> None:
    """Contract 2.1: the wrong path must not appear only after the slug was corrected."""
    meter(slug="m")

    answer = client.post(URL, json={"slug": "m", "eventType": "t", "aggregation": "SUM", "valueProperty": "$..a"})

    assert (answer.status_code, answer.json()["detail"]) == (400, "validation error: invalid JSONPath: $..a")
