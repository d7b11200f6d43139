"""The outcomes of sent events: stored or not, since when, and why no meter counted them.

Contract 3.7. Cases N3b, N6, N26b.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from anyio.from_thread import BlockingPortal

from api.app import create_app
from api.dependencies import Dependencies
from api.routes.outcomes import MAX_EVENTS
from engine.config.settings import Settings
from engine.instants import milliseconds, parse_instant, utc_now
from engine.meters.definition import parse_definition
from engine.store.clickhouse import Store
from ingest.consumer import Consumer
from ingest.sqlite.log import SqliteLog
from tests.api import conftest
from tests.api.conftest import BATCH, KEY, TOKENS_TOTAL, build
from tests.harness.api_client import ApiClient

URL = "/api/v1/events/outcomes"
MANY = 10_000  # more than fits into one field of a request to ClickHouse


def event(id_: str, data: object = None, subject: str = "acme", type_: str = "prompt") -> dict[str, object]:
    at = utc_now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return conftest.event(id_, subject, at, data, type_)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    opened = SqliteLog(tmp_path / "log.sqlite", max_bytes=64 << 20)
    yield opened
    opened.close()


@pytest.fixture
def dependencies(store: Store, api_settings: Settings, log: SqliteLog) -> Dependencies:
    return build(store, api_settings, log)


class Ingest:
    """Sends events to the API, and stores what waits in the log."""

    def __init__(self, dependencies: Dependencies, log: SqliteLog, client: ApiClient) -> None:
        self._client = client
        self._consumer = Consumer(log, dependencies.store, dependencies.settings.ingest, threading.Event())
        self._consumer.start()

    def store(self, *events: dict[str, object]) -> None:
        answer = self._client.post(
            "/api/v1/events", content=orjson.dumps(list(events)), headers={"Content-Type": BATCH}
        )
        assert answer.status_code == 204
        while self._consumer.step(0):
            pass


@pytest.fixture
def ingest(dependencies: Dependencies, log: SqliteLog, client: ApiClient) -> Ingest:
    dependencies.registry.create(parse_definition(TOKENS_TOTAL))
    return Ingest(dependencies, log, client)


def outcomes(client: ApiClient, *names: tuple[str, str], **members: object) -> dict[str, Any]:
    """Return the outcomes of events."""
    answer = client.post(URL, json={"events": [{"source": source, "id": id_} for source, id_ in names], **members})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_an_event_is_stored_or_not_and_says_since_when(client: ApiClient, ingest: Ingest) -> None:
    """3.7, D.26."""
    before = milliseconds(utc_now())
    ingest.store(event("1", data={"tokens": 1}))

    first, other_source, missing = outcomes(client, ("tests", "1"), ("else", "1"), ("tests", "2"))["events"]

    assert first.keys() == {"source", "id", "stored", "storedAt"}
    assert (first["source"], first["id"], first["stored"]) == ("tests", "1", True)
    assert abs(_ms(first["storedAt"]) - before) < 60_000
    assert other_source == {"source": "else", "id": "1", "stored": False}
    assert missing == {"source": "tests", "id": "2", "stored": False}


def test_what_no_meter_counted_says_why_as_the_listing_does(client: ApiClient, ingest: Ingest) -> None:
    """N6."""
    ingest.store(event("1", data={"tokens": "1,234"}), event("2", data={"tokens": 5}), event("3", type_="typo"))

    found = outcomes(client, ("tests", "3"), ("tests", "1"), ("tests", "2"))["events"]

    listed = client.get("/api/v1/events").json()
    reasons = {item["event"]["id"]: item.get("validationError") for item in listed}
    assert [item.get("validationError") for item in found] == [reasons["3"], reasons["1"], None]
    assert reasons["1"] == "invalid event: value cannot be parsed as float64: 1,234"
    assert reasons["3"] == "no meter found for event type: typo"


def test_a_second_event_of_one_id_is_not_stored_again(client: ApiClient, ingest: Ingest) -> None:
    """N26b: the store's own stamps distinguish earlier events from those that are stored from now on."""
    assert "newestStoredAt" not in outcomes(client)
    ingest.store(event("1", data={"tokens": 1}))
    newest = outcomes(client)["newestStoredAt"]
    ingest.store(event("1", data={"tokens": "many"}), event("2", data={"tokens": "many"}), event("2"))

    first, second = outcomes(client, ("tests", "1"), ("tests", "2"))["events"]

    assert _ms(first["storedAt"]) <= _ms(newest) < _ms(second["storedAt"])
    assert "validationError" not in first
    assert second["validationError"] == "invalid event: value cannot be parsed as float64: many"


def test_only_what_was_stored_later_is_explained(client: ApiClient, ingest: Ingest) -> None:
    ingest.store(event("1"))
    newest = outcomes(client)["newestStoredAt"]
    ingest.store(event("2"))

    found = outcomes(client, ("tests", "1"), ("tests", "2"), explainAfter=newest)["events"]

    assert [(item["stored"], "validationError" in item) for item in found] == [(True, False), (True, True)]


def test_thousands_of_events_are_answered_in_the_order_asked(client: ApiClient, ingest: Ingest) -> None:
    names = [("tests", f"event-{number}-{'x' * 40}") for number in range(MANY)]
    for start in range(0, MANY, 2500):
        ingest.store(*(event(id_, subject=f"s{at % 97}") for at, (_, id_) in enumerate(names[start : start + 2500])))

    found = outcomes(client, *names)["events"]

    assert len(found) == MANY
    assert {item["stored"] for item in found} == {True}
    assert {item["validationError"] for item in found} == {"invalid event: null and missing value property"}
    assert [item["id"] for item in found] == [id_ for _, id_ in names]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, "invalid request body: events: Field required"),
        ({"events": {}}, "invalid request body: events: Input should be a valid list"),
        ({"events": [{"source": "s"}]}, "invalid request body: events.0.id: Field required"),
        ({"events": [{"source": "s", "id": 1}]}, "invalid request body: events.0.id: Input should be a valid string"),
        ({"events": [{"source": "s", "id": "1"}] * (MAX_EVENTS + 1)}, "events: List should have at most 50000 items"),
        ({"events": [], "explainAfter": "today"}, "explainAfter: not an RFC 3339 timestamp with an offset"),
        ({"events": [], "explainafter": None}, 'did you mean "explainAfter"?'),
        ({"events": [], "other": 1}, "invalid request body: other: Extra inputs are not permitted"),
    ],
)
def test_a_request_that_is_wrong_says_where(still: ApiClient, body: dict[str, object], detail: str) -> None:
    answer = still.post(URL, json=body)

    assert answer.status_code == 400
    assert detail in answer.json()["detail"]


def test_only_the_management_key_opens_it(portal: BlockingPortal, dependencies: Dependencies) -> None:
    anyone = ApiClient(portal, create_app(dependencies))
    token = ApiClient(portal, create_app(dependencies), {"Authorization": f"Bearer {KEY}x"})

    assert anyone.post(URL, json={"events": []}).status_code == 401
    assert token.post(URL, json={"events": []}).status_code == 401


def _ms(text: str) -> int:

    return parse_instant(text).nanos // 1_000_000
