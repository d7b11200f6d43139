"""All problems have this in common: no cache keeps them, and they quote only a short part of the request (case S17)."""

from collections.abc import Callable

import pytest

from engine.errors import LogFull
from tests.api.conftest import BATCH, SINGLE, MemoryLog
from tests.harness.api_client import ApiClient

LONG = "x" * 500_000
EVENT = '"specversion":"1.0","id":"1","source":"s","type":"t","subject":"u"'
ODD = f'{{{EVENT},"{LONG}X":1}}'
Token = Callable[..., dict[str, str]]


def test_no_problem_is_kept_by_a_cache(still: ApiClient, stranger: ApiClient, still_token: Token) -> None:
    """RFC 9111, 4.2.2: a cache may keep a 404 that does not forbid it."""
    answers = {
        400: still.get("/api/v1/meters?order=x"),
        401: stranger.get("/api/v1/meters"),
        404: still.get("/api/v1/meters/nope"),
        405: still.request("PATCH", "/api/v1/meters"),
        409: still.post("/api/v1/meters", json={"slug": "tokens_total", "eventType": "t", "aggregation": "COUNT"}),
        413: still.post(
            "/api/v1/meters/tokens_total/query", content=b" " * 300_000, headers={"Content-Type": "application/json"}
        ),
        415: still.post(
            "/api/v1/subjects", content=b"[]", headers={"Content-Type": "application/json", "Content-Encoding": "br"}
        ),
    }
    unrouted = still.get("/nowhere")
    on_the_portal = stranger.get("/api/v1/portal/meters/nope/query", headers=still_token("a"))

    assert {status: answer.status_code for status, answer in answers.items()} == {status: status for status in answers}
    for answer in (*answers.values(), unrouted, on_the_portal):
        assert answer.headers["cache-control"] == "no-store", answer.request.url
    assert (unrouted.status_code, on_the_portal.status_code) == (404, 404)


def test_a_busy_server_is_not_kept_by_a_cache(client: ApiClient, log: MemoryLog) -> None:
    log.failure = LogFull("the event log holds too much")
    answer = client.post("/api/v1/events", content=f"{{{EVENT}}}", headers={"Content-Type": SINGLE})

    assert (answer.status_code, answer.headers["cache-control"]) == (503, "no-store")


ECHOED = {
    "content type": ("/api/v1/portal/tokens", b"{}", f"text/plain;{LONG}"),
    "content type of events": ("/api/v1/events", b"{}", f"text/plain;{LONG}"),
    "charset": ("/api/v1/portal/tokens", "{ü}".encode(), f"application/json;charset={LONG}"),
    "unknown member": ("/api/v1/portal/tokens", f'{{"subject":"a","{LONG}":1}}'.encode(), "application/json"),
    "doubled member": ("/api/v1/portal/tokens", f'{{"{LONG}":1,"{LONG}":1}}'.encode(), "application/json"),
    "slug": ("/api/v1/portal/tokens", f'{{"subject":"a","allowedMeterSlugs":["{LONG}"]}}'.encode(), "application/json"),
    "slug of a meter": (
        "/api/v1/meters",
        f'{{"slug":"{LONG}","eventType":"t","aggregation":"COUNT"}}'.encode(),
        "application/json",
    ),
    "aggregation": (
        "/api/v1/meters",
        f'{{"slug":"s","eventType":"t","aggregation":"{LONG}"}}'.encode(),
        "application/json",
    ),
    "group-by key": (
        "/api/v1/meters",
        f'{{"slug":"s","eventType":"t","aggregation":"COUNT","groupBy":{{"{LONG}-":"$.a"}}}}'.encode(),
        "application/json",
    ),
    "path": (
        "/api/v1/meters",
        f'{{"slug":"s","eventType":"t","aggregation":"SUM","valueProperty":"$.{LONG} {LONG}"}}'.encode(),
        "application/json",
    ),
    "subject's member": ("/api/v1/subjects", f'[{{"key":"a","metadata":1,"{LONG}":1}}]'.encode(), "application/json"),
    "filter's key": (
        "/api/v1/meters/tokens_total/query",
        f'{{"advancedMeterGroupByFilters":{{"{LONG[:200_000]}":{{}}}}}}'.encode(),
        "application/json",
    ),
    "filter's operator": (
        "/api/v1/meters/tokens_total/query",
        f'{{"advancedMeterGroupByFilters":{{"model":{{"${LONG[:200_000]}":"a"}}}}}}'.encode(),
        "application/json",
    ),
    "time zone": (
        "/api/v1/meters/tokens_total/query",
        f'{{"windowTimeZone":"{LONG[:200_000]}"}}'.encode(),
        "application/json",
    ),
    "event's version": ("/api/v1/events", f"{{{EVENT.replace('1.0', LONG)}}}".encode(), SINGLE),
    "event's extension": ("/api/v1/events", f'{{{EVENT},"{LONG}X":1}}'.encode(), SINGLE),
    "event's attribute twice": ("/api/v1/events", f'{{{EVENT},"{LONG}":1,"{LONG}":1}}'.encode(), SINGLE),
    "events of a batch": ("/api/v1/events", f"[{','.join([ODD] * 5)}]".encode(), BATCH),
}


@pytest.mark.parametrize(("url", "body", "kind"), ECHOED.values(), ids=ECHOED)
def test_what_was_sent_is_not_sent_back_at_any_length(still: ApiClient, url: str, body: bytes, kind: str) -> None:
    answer = still.post(url, content=body, headers={"Content-Type": kind})

    assert answer.status_code in {400, 404}
    assert len(answer.content) < 20_000


@pytest.mark.parametrize(
    "url",
    [
        f"/api/v1/subjects/{LONG[:60_000]}",
        f"/api/v1/meters?orderBy={LONG[:60_000]}",
        f"/api/v1/meters/tokens_total/query?windowSize[{LONG[:60_000]}]=DAY",
        f"/api/v1/meters/tokens_total/query?filterGroupBy[{LONG[:60_000]}]=a",
        f"/api/v1/meters/tokens_total/query?windowTimeZone={LONG[:8_000]}",
        f"/api/v1/meters/tokens_total/query?groupBy={LONG[:8_000]}",
    ],
    ids=lambda url: url[:70],
)
def test_what_was_asked_is_not_sent_back_at_any_length(still: ApiClient, url: str) -> None:
    answer = still.get(url)

    assert answer.status_code in {400, 404}
    assert len(answer.content) < 20_000
