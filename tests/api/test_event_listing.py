"""GET /api/v1/events lists events newest first, filters them, and refuses a wrong parameter by name."""

from collections.abc import Callable
from datetime import datetime, timedelta

import orjson
import pytest

from engine.instants import utc_now
from tests.api.conftest import SINGLE, MemoryLog
from tests.api.event_requests import GOOD, URL, post
from tests.harness.api_client import ApiClient


def test_events_are_listed_newest_first(
    client: ApiClient, send: Callable[..., None], meter: Callable[..., object]
) -> None:
    """Contract 3.2."""
    meter(groupBy=None)
    now = utc_now().replace(microsecond=0)
    older, newer = now - timedelta(hours=2), now - timedelta(hours=1)
    send(("customer-1", text(older), {"tokens": 1}), ("customer-2", text(newer), {"tokens": "many"}))

    answer = client.get(URL)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    first, second = answer.json()
    assert (first["event"]["subject"], first["event"]["data"]) == ("customer-2", {"tokens": "many"})
    assert (second["event"]["subject"], second["event"]["data"]) == ("customer-1", {"tokens": 1})
    assert "validationError" in first
    assert "validationError" not in second


def test_data_sent_in_base64_is_counted_and_listed_as_data(
    client: ApiClient, log: MemoryLog, meter: Callable[..., object]
) -> None:
    """Contract 3.1, 3.2, D.33; cases N16, C4: some SDKs encode plain JSON in base64."""
    meter(groupBy=None)
    body = {**GOOD, "time": text(utc_now().replace(microsecond=0)), "data_base64": "eyJ0b2tlbnMiOjV9"}
    del body["data"]

    assert post(client, orjson.dumps(body), SINGLE).status_code == 204
    log.drain()

    (listed,) = client.get(URL).json()
    assert listed["event"]["data"] == {"tokens": 5}
    assert "data_base64" not in listed["event"]
    assert [row["value"] for row in client.get("/api/v1/meters/tokens_total/query").json()["data"]] == [5]


def test_events_are_filtered(client: ApiClient, send: Callable[..., None]) -> None:
    """Contract 3.2: the id by a substring, the subject exactly, `from` inclusive, `to` exclusive."""
    now = utc_now().replace(microsecond=0)
    times = [now - timedelta(hours=hours) for hours in (3, 2, 1)]
    send(*((f"customer-{number}", text(time), {}) for number, time in enumerate(times)))

    def ids(**parameters: str) -> list[str]:
        return [item["event"]["id"] for item in client.get(URL, params=parameters).json()]

    assert ids() == ["e2", "e1", "e0"]
    assert ids(id="1") == ["e1"]
    assert ids(subject="customer-2") == ["e2"]
    assert ids(subject="customer") == []
    assert ids(**{"from": text(times[1])}) == ["e2", "e1"]
    assert ids(to=text(times[1])) == ["e0"]
    assert ids(limit="2") == ["e2", "e1"]
    assert ids(ingestedAtFrom=text(now + timedelta(hours=1))) == []
    assert ids(ingestedAtTo=text(now - timedelta(hours=1))) == []
    assert ids(hasError="true", clientId="c") == ["e2", "e1", "e0"]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("from=2025-01-01", "from"),
        ("ingestedAtTo=yesterday", "ingestedAtTo"),
        ("customerId=01G65Z755AFWAKHE12NY0CQ9FH", "customerId"),
        (f"clientId={'x' * 37}", "clientId"),
        ("Subject=a", "Subject"),
        ("subject=a&subject=b", "subject"),
    ],
)
def test_a_wrong_parameter_of_the_listing_is_named(still: ApiClient, query: str, named: str) -> None:
    """D.8."""
    answer = still.get(f"{URL}?{query}")

    assert answer.status_code == 400
    assert named in answer.json()["detail"]


def test_events_too_old_to_list_are_refused(still: ApiClient) -> None:
    """Contract 3.2, D.24: the limit is 32 days."""
    answer = still.get(URL, params={"from": text(utc_now() - timedelta(days=33))})

    assert answer.status_code == 400
    assert "from" in answer.json()["detail"]


def text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
