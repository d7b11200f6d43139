"""POST /api/v1/events keeps valid events byte for byte, and refuses other events and bodies that are too long."""

import dataclasses
import logging
from collections.abc import AsyncIterator

import anyio
import orjson
import pytest
from anyio.from_thread import BlockingPortal
from starlette.requests import Request
from starlette.types import Message, Scope

from api.app import create_app
from api.dependencies import Dependencies
from api.http.bodies import read_body
from engine.config.server_settings import ServerSettings
from engine.errors import LogFull, LogUnavailable, MeterportError, TooLarge
from tests.api.conftest import BATCH, KEY, SINGLE, MemoryLog
from tests.api.event_requests import GOOD, URL, post
from tests.harness.api_client import ApiClient


@pytest.mark.parametrize(
    ("content_type", "body", "kept"),
    [
        (SINGLE, orjson.dumps(GOOD), 1),
        (f"{SINGLE}; charset=utf-8", orjson.dumps(GOOD), 1),
        (BATCH, orjson.dumps([GOOD, {**GOOD, "id": "e2"}]), 2),
        (f"{BATCH.upper()};charset=UTF-8", orjson.dumps([GOOD]), 1),
        (BATCH, b"[]", 0),
        ("application/json", orjson.dumps(GOOD), 1),
        ("application/json", b" \n" + orjson.dumps([GOOD, GOOD, GOOD]), 3),
    ],
    ids=["single", "single with charset", "batch", "batch in capitals", "empty batch", "json object", "json array"],
)
def test_events_are_appended_before_204(
    client: ApiClient, log: MemoryLog, content_type: str, body: bytes, kept: int
) -> None:
    """Contract 3.1, D.9, D.12."""
    answer = post(client, body, content_type)

    assert (answer.status_code, answer.content) == (204, b"")
    assert len(log.values) == kept


def test_events_are_kept_byte_for_byte(client: ApiClient, log: MemoryLog) -> None:
    """D.12: `data` keeps spaces, key order, duplicate keys and digits that no double can hold."""
    text = orjson.dumps(GOOD)[:-1].replace(b'{"tokens":1}', b'{ "z": 1,"a":12345678901234567890123, "z":2 }') + b"}"

    post(client, b"[ " + text + b" ]", BATCH)

    assert log.values == [text]


@pytest.mark.parametrize(
    ("content_type", "body", "detail"),
    [
        ("application/json", b"[]", "invalid event: no events found"),
        ("application/json", b" [ ] ", "invalid event: no events found"),
        ("application/json", b"null", "invalid event: no events found"),
        ("application/json", b"", "invalid event: no events found"),
        ("application/json", b'"text"', "invalid event: no events found"),
        ("application/json", b"nonsense", "invalid event: not JSON: "),
        ("application/json", b'{"id":', "invalid event: not JSON: "),
        (SINGLE, b"", "invalid event: the body is empty"),
        (SINGLE, b" \n", "invalid event: the body is empty"),
        (BATCH, b"", "invalid event: the body is empty"),
        (BATCH, b"\r\n\t", "invalid event: the body is empty"),
        (SINGLE, b'{"id":', "invalid event: not JSON: "),
        (SINGLE, b"\xff", "invalid event: not UTF-8: "),
        (SINGLE, b"[]", "invalid event: an event must be a JSON object"),
        (BATCH, b" {}", "invalid event: not a JSON array of events: it is an object; send one event as application/cl"),
        (BATCH, '{"id":1}'.encode("utf-16-le"), "invalid event: not a JSON array of events: it is UTF-16, "),
        (BATCH, b"7", "invalid event: not a JSON array of events: "),
        (BATCH, b"[{}", "invalid event: not a JSON array of events: "),
        ("text/plain", b"{}", "invalid content type: text/plain"),
        (None, b"{}", "invalid content type: "),
        ("application/x-www-form-urlencoded", b"{}", "invalid content type: application/x-www-form-urlencoded"),
    ],
)
def test_a_body_without_events_is_refused(
    still: ApiClient, still_log: MemoryLog, content_type: str | None, body: bytes, detail: str
) -> None:
    """Contract 3.1."""
    answer = post(still, body, content_type)

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(detail)
    assert still_log.values == []


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"id": None}, "id", "id must be str, not null"),
        ({"id": ""}, "id", "id must not be empty"),
        ({"subject": "x" * 2049}, "subject", "subject is longer than 2048 bytes"),
        ({"source": "a\nb"}, "source", "source holds a control character"),
        ({"specversion": "2.0"}, "specversion", "specversion must be 1.0, not '2.0'"),
        (
            {"datacontenttype": "application/xml"},
            "datacontenttype",
            "datacontenttype must be application/json or another type of JSON",
        ),
        ({"data": "text"}, "data", "data must be a JSON object or null"),
        ({"data": [1]}, "data", "data must be a JSON object or null"),
        ({"time": "2025-01-01"}, "time", "time must be an RFC 3339 timestamp with an offset"),
        ({"time": "1969-12-31T23:59:59Z"}, "time", "time is before the earliest accepted time"),
        ({"time": "2099-01-01T00:00:00Z"}, "time", "time is too far in the future"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_a_bad_event_is_refused_by_field(
    still: ApiClient, still_log: MemoryLog, change: dict[str, object], field: str, message: str
) -> None:
    """D.18, D.19, D.20."""
    answer = post(still, orjson.dumps({**GOOD, **change}), SINGLE)

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].replace("`", "") == f"invalid event: {message}"
    (problem,) = answer.json()["extensions"]["validationErrors"]
    assert (problem["index"], problem["field"], problem["severity"]) == (0, field, "critical")
    assert (problem["code"], problem["message"].replace("`", "")) == ("invalid-event", message)
    assert still_log.values == []


def test_one_bad_event_refuses_the_whole_batch(still: ApiClient, still_log: MemoryLog) -> None:
    """D.12, D.20: nothing is appended, and each invalid event is named by its index."""
    missing = {name: value for name, value in GOOD.items() if name != "type"}
    batch = [GOOD, {**GOOD, "id": ""}, GOOD, missing, 7]

    answer = post(still, orjson.dumps(batch), BATCH)

    assert answer.status_code == 400
    body = answer.json()
    assert body["detail"] == "invalid event: 3 of 5 events are invalid; at index 1: id must not be empty"
    assert body["code"] == "invalid-event"
    assert body["extensions"]["validationErrors"] == [
        {"index": 1, "field": "id", "code": "invalid-event", "message": "id must not be empty", "severity": "critical"},
        {"index": 3, "field": "type", "code": "invalid-event", "message": "type is missing", "severity": "critical"},
        {
            "index": 4, "field": None, "code": "invalid-event",
            "message": "an event must be a JSON object", "severity": "critical",
        },
    ]  # fmt: skip
    assert still_log.values == []


def test_a_large_batch_lists_its_first_thousand_faults(still: ApiClient, still_log: MemoryLog) -> None:
    answer = post(still, b"[" + b",".join([b"{}"] * 6000) + b"]", BATCH)

    body = answer.json()
    assert len(body["extensions"]["validationErrors"]) == 1000
    assert body["detail"].startswith("invalid event: 6000 of 6000 events are invalid, the first 1000 are listed; ")
    assert still_log.values == []


def test_an_event_without_time_gets_its_arrival(client: ApiClient, log: MemoryLog) -> None:
    """Contract 3.1: `time` defaults to now."""
    timeless = {name: value for name, value in GOOD.items() if name != "time"}

    assert post(client, orjson.dumps(timeless), SINGLE).status_code == 204

    assert log.values == [orjson.dumps(timeless)]


@pytest.fixture
def small(portal: BlockingPortal, dependencies: Dependencies) -> ApiClient:
    """A client of a server that accepts bodies of 2,000 bytes."""
    settings = dependencies.settings.model_copy(update={"server": ServerSettings(body_limit_bytes=2000)})
    app = create_app(dataclasses.replace(dependencies, settings=settings))
    return ApiClient(portal, app, {"Authorization": f"Bearer {KEY}"})


def test_a_body_over_the_limit_is_413(small: ApiClient, log: MemoryLog) -> None:
    """D.12."""
    answer = post(small, b"[" + b" " * 2000 + b"]", BATCH)

    assert answer.status_code == 413
    assert answer.json()["detail"] == "the body is longer than 2000 bytes"
    assert answer.json()["code"] == "body-too-large"
    assert answer.headers["connection"] == "close"
    assert log.values == []


def test_a_body_of_the_limit_is_taken(small: ApiClient) -> None:
    assert post(small, b"[" + b" " * 1998 + b"]", BATCH).status_code == 204


def test_a_chunked_body_over_the_limit_is_read_no_further(small: ApiClient, log: MemoryLog) -> None:
    """D.12: without Content-Length the body is counted while it is read."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 600

    answer = small.post(URL, content=chunks(), headers={"Content-Type": BATCH})

    assert answer.status_code == 413
    assert log.values == []


def test_no_more_than_the_limit_is_read() -> None:
    """D.12: an endless body is cut off, whatever length it declares."""
    taken = 0

    async def receive() -> Message:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": b" " * 600, "more_body": True}

    async def read() -> None:
        scope: Scope = {"type": "http", "method": "POST", "headers": []}
        await read_body(Request(scope, receive), 2000)

    with pytest.raises(TooLarge):
        anyio.run(read)

    assert taken == 4


@pytest.mark.parametrize(
    ("failure", "code"),
    [(LogFull("the event log is full"), "log-full"), (LogUnavailable("the disk is full"), "log-unavailable")],
)
def test_a_log_that_cannot_take_events_is_503(
    client: ApiClient, log: MemoryLog, failure: MeterportError, code: str
) -> None:
    """R3: the client must retry later."""
    log.failure = failure

    answer = post(client, orjson.dumps(GOOD), SINGLE)

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert (answer.json()["code"], answer.json()["detail"]) == (code, str(failure))


def test_a_failing_log_is_not_logged_with_its_events(
    client: ApiClient, log: MemoryLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.failure = LogFull("full")

    with caplog.at_level(logging.DEBUG):
        post(client, orjson.dumps(GOOD), SINGLE)

    assert "customer-1" not in caplog.text
