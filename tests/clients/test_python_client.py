"""OpenMeter's published Python client, unmodified, against a running server."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from corehttp.exceptions import ClientAuthenticationError, HttpResponseError
from openmeter import Client

from tests.clients.conftest import API_KEY
from tests.harness.server import Server

NOVEMBER = {"from_parameter": datetime(2026, 11, 1, tzinfo=UTC), "to": datetime(2026, 12, 1, tzinfo=UTC)}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    with Client(endpoint=server.url, token=API_KEY) as opened:
        opened.meters.create(
            {
                "slug": "py_tokens",
                "name": "Tokens",
                "eventType": "py-prompt",
                "aggregation": "SUM",
                "valueProperty": "$.tokens",
                "groupBy": {"model": "$.model"},
            }
        )
        opened.events.ingest_events([_event("a", "gpt-4", 10), _event("b", "small", "0.1"), _event("a", "gpt-4", 10)])
        opened.events.ingest_event(_event("c", "small", "0.2"))
        yield opened


def _event(id_: str, model: str, tokens: object) -> dict[str, Any]:
    return {
        "id": id_,
        "source": "py-test",
        "specversion": "1.0",
        "type": "py-prompt",
        "subject": "customer-1",
        "time": datetime(2026, 11, 2, 10, tzinfo=UTC),
        "data": {"model": model, "tokens": tokens},
    }


def _portal(server: Server, client: Any, **token: Any) -> tuple[Any, Any]:
    created = client.portal.portal_tokens.create({"subject": "customer-1", **token})
    return Client(endpoint=server.url, token=created.token), created


def _until_stored(portal: Any) -> Any:
    for _ in range(50):
        answer = portal.portal.portal_meters.query_json("py_tokens", window_size="DAY", group_by=["model"], **NOVEMBER)
        if len(answer.data) == 2 and answer.data[1].value > 0.2:
            return answer
        time.sleep(0.1)
    raise AssertionError("the events are not counted within five seconds")


def test_usage_comes_out_through_a_portal_token(server: Server, client: Any) -> None:
    portal, token = _portal(server, client, allowedMeterSlugs=["py_tokens"])

    answer = _until_stored(portal)

    assert token.token.startswith("om_portal_")
    assert [(row.subject, row.group_by["model"], row.value) for row in answer.data] == [
        ("customer-1", "gpt-4", 10),
        ("customer-1", "small", 0.3),
    ]
    assert answer.data[0].window_start == datetime(2026, 11, 2, tzinfo=UTC)


def test_csv_is_exact(server: Server, client: Any) -> None:
    portal, _ = _portal(server, client)
    _until_stored(portal)

    csv = portal.portal.portal_meters.query_csv("py_tokens", window_size="DAY", group_by=["model"], **NOVEMBER)

    assert "".join(csv).splitlines() == [
        "window_start,window_end,subject,model,value",
        "2026-11-02T00:00:00Z,2026-11-03T00:00:00Z,customer-1,gpt-4,10",
        "2026-11-02T00:00:00Z,2026-11-03T00:00:00Z,customer-1,small,0.3",
    ]


def test_the_management_query_and_listings_answer(server: Server, client: Any) -> None:
    _until_stored(_portal(server, client)[0])

    answer = client.meters.query_json("py_tokens", subject=["customer-1"], **NOVEMBER)

    assert [row.value for row in answer.data] == [10.3]
    assert "py_tokens" in [meter.slug for meter in client.meters.list()]
    assert client.meters.get("py_tokens").aggregation == "SUM"
    assert [key for key in client.meters.list_subjects("py_tokens") if key != "today-1"] == ["customer-1"]
    assert {listed.event.id for listed in client.events.list(subject="customer-1")} == {"a", "b", "c"}


def test_the_events_of_today_are_counted(client: Any) -> None:
    """C7."""
    client.events.ingest_event({**_event("today", "small", 1), "subject": "today-1", "time": datetime.now(UTC)})

    for _ in range(50):
        text = client.debug.metrics()
        if 'openmeter_events_total{subject="today-1"}' in text:
            break
        time.sleep(0.1)

    assert 'openmeter_events_total{subject="today-1"} 1.0' in text.splitlines()


def test_a_filter_the_client_sends_as_text_is_refused_not_ignored(server: Server, client: Any) -> None:
    portal, _ = _portal(server, client)

    with pytest.raises(HttpResponseError) as caught:
        portal.portal.portal_meters.query_json("py_tokens", filter_group_by={"model": "small"})

    assert caught.value.status_code == 400


def test_tokens_are_listed_and_invalidated(server: Server, client: Any) -> None:
    portal, token = _portal(server, client)

    assert token.id in [listed.id for listed in client.portal.portal_tokens.list()]
    client.portal.portal_tokens.invalidate(id=token.id)
    with pytest.raises(ClientAuthenticationError):
        portal.portal.portal_meters.query_json("py_tokens")


def test_a_meter_can_be_updated_and_deleted(client: Any) -> None:
    client.meters.create({"slug": "py_short", "name": "Short", "eventType": "py-prompt", "aggregation": "COUNT"})

    client.meters.update("py_short", {"name": "Renamed", "groupBy": {"model": "$.model"}})

    assert client.meters.get("py_short").name == "Renamed"
    client.meters.delete("py_short")
    assert "py_short" not in [meter.slug for meter in client.meters.list()]
