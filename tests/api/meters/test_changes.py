"""Meters are changed and deleted; a PUT never changes what is fixed, also if another process has changed the meter."""

from collections.abc import Callable
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal

from api.app import create_app
from api.dependencies import Dependencies
from tests.api.conftest import KEY, Create, MemoryLog, Send, build
from tests.api.meters.route import RFC3339, URL
from tests.harness.api_client import ApiClient


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
