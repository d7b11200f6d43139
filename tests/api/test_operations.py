"""Probes, version, metrics, problems without a route, and the answer to a defect."""

import dataclasses
import logging
import re
from collections.abc import Sequence
from concurrent.futures import Future

import pytest
from anyio.from_thread import BlockingPortal

from api.app import create_app, create_telemetry_app
from api.dependencies import Dependencies
from engine import __version__
from engine.errors import StoreError, StoreUnavailable
from engine.health import Ability, Away, Readiness
from engine.metrics import REGISTRY
from tests.api.conftest import KEY
from tests.harness.api_client import ApiClient

BEARER = {"Authorization": f"Bearer {KEY}"}


def test_a_process_that_answers_is_alive(stranger: ApiClient) -> None:
    """D.21."""
    answer = stranger.get("/livez")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


NOT_READY = Readiness(
    away=[Away("store", "2026-11-29T10:00:00Z", 34, "the store does not answer", [Ability.QUERIES, Ability.INGEST])],
    works=[Ability.EVENTS],
    degraded=["partition 1 is not read"],
)


def test_a_process_is_ready_or_says_what_is_away_and_what_works(
    portal: BlockingPortal, still_dependencies: Dependencies
) -> None:
    """D.21, N22c."""
    found = [Readiness(), Readiness(degraded=["partition 1 is not read"]), NOT_READY]
    app = create_app(dataclasses.replace(still_dependencies, readiness=lambda: found.pop(0)))
    client = ApiClient(portal, app)

    ready, degraded, unready = (client.get("/readyz") for _ in range(3))

    assert (ready.status_code, ready.json()) == (200, {"status": "ok"})
    assert (degraded.status_code, degraded.json()["degraded"]) == (200, ["partition 1 is not read"])
    assert (unready.status_code, unready.headers["retry-after"]) == (503, "1")
    body = unready.json()
    assert body["detail"] == "store: the store does not answer (since 2026-11-29T10:00:00Z); works: events"
    assert body["extensions"] == {
        "away": [
            {
                "name": "store",
                "since": "2026-11-29T10:00:00Z",
                "seconds": 34,
                "reason": "the store does not answer",
                "stops": ["queries", "ingest"],
            }
        ],
        "works": ["events"],
        "degraded": ["partition 1 is not read"],
    }


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 503), ("?for=all", 503), ("?for=any", 200), ("?for=events", 200), ("?for=queries", 503), ("?for=x", 400)],
)
def test_a_probe_asks_for_what_its_traffic_needs(
    portal: BlockingPortal, still_dependencies: Dependencies, query: str, status: int
) -> None:
    """N22c: without the store, events are still accepted."""
    app = create_app(dataclasses.replace(still_dependencies, readiness=lambda: NOT_READY))

    assert ApiClient(portal, app).get(f"/readyz{query}").status_code == status


def test_the_version_is_told(stranger: ApiClient) -> None:
    """D.21: anybody may ask."""
    body = stranger.get("/version").json()

    assert body["version"] == __version__
    assert sorted(body) == ["arch", "os", "version"]


def test_metrics_take_the_key_on_the_main_port_only(
    portal: BlockingPortal, still_dependencies: Dependencies, stranger: ApiClient, still: ApiClient
) -> None:
    """D.21."""
    telemetry = ApiClient(portal, create_telemetry_app(still_dependencies))

    assert stranger.get("/metrics").status_code == 401
    assert "meterport_http_requests_total" in still.get("/metrics").text
    assert telemetry.get("/metrics").headers["content-type"].startswith("text/plain")
    assert (telemetry.get("/livez").status_code, telemetry.get("/readyz").status_code) == (200, 200)
    assert telemetry.get("/api/v1/meters", headers=BEARER).status_code == 404


_OPENMETRICS = "application/openmetrics-text"
_PROMETHEUS = f"{_OPENMETRICS};version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.1"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/plain", "text/plain"),
        ("*/*", "text/plain"),
        ("", "text/plain"),
        ("application/json", "text/plain"),
        (f"{_OPENMETRICS};q=0", "text/plain"),
        (f"{_OPENMETRICS};q=0.000, */*", "text/plain"),
        (f"{_OPENMETRICS};q=0.3, text/plain;q=0.7", "text/plain"),
        (f"{_OPENMETRICS};q=x", "text/plain"),
        (_OPENMETRICS, _OPENMETRICS),
        (f"text/plain, {_OPENMETRICS.upper()} ; version=0.0.1", _OPENMETRICS),
        (_PROMETHEUS, _OPENMETRICS),
    ],
)
def test_events_of_today_come_in_the_format_the_client_asks_for(still: ApiClient, accept: str, kind: str) -> None:
    """C7, contract 3.6: OpenMeter's Python client asks for plain text, Prometheus for OpenMetrics first."""
    answer = still.get("/api/v1/debug/metrics", headers={"Accept": accept})

    assert answer.status_code == 200
    assert answer.headers["content-type"].split(";")[0] == kind
    assert "# TYPE openmeter_events" in answer.text
    assert answer.text.endswith("# EOF\n") is (kind == _OPENMETRICS)


@pytest.mark.parametrize(
    "path", ["/", "/api/v1/nothing", "/api/v1/meters/", "/api/v1/info/progress/x", "/api/v2/meters"]
)
def test_what_no_route_answers_is_404_without_detail(still: ApiClient, path: str) -> None:
    """Contract 0."""
    answer = still.get(path)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert re.match(r"urn:request:[0-9A-Z]{26}\Z", body.pop("instance"))
    assert body == {"type": "about:blank", "title": "Not Found", "status": 404, "code": "not-found"}


def test_the_detail_of_a_problem_is_its_message_too(still: ApiClient) -> None:
    """C8."""
    body = still.get("/api/v1/meters/nothing_here").json()

    assert list(body) == ["type", "title", "status", "detail", "instance", "code", "message"]
    assert body["message"] == body["detail"] == "not found error: meter not found: nothing_here"


def test_another_method_is_405_without_detail(still: ApiClient) -> None:
    """Contract 0."""
    answer = still.request("PATCH", "/api/v1/meters/tokens_total")

    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert {name.strip() for name in answer.headers["allow"].split(",")} == {"DELETE", "GET", "HEAD", "PUT"}
    assert "detail" not in answer.json()
    assert answer.json()["code"] == "method-not-allowed"


def test_nothing_names_the_software(still: ApiClient) -> None:
    """D.15."""
    answer = still.get("/api/v1/meters")

    assert "x-powered-by" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"


class Broken:
    """An event log that raises an unexpected error."""

    def append(self, values: Sequence[bytes], arrived_ms: int) -> "Future[None]":
        raise RuntimeError(f"{len(values)} events at {arrived_ms}: secret detail")


def test_a_defect_is_500_without_detail_and_logged(
    portal: BlockingPortal, still_dependencies: Dependencies, caplog: pytest.LogCaptureFixture
) -> None:
    """Contract 0."""
    client = ApiClient(portal, create_app(dataclasses.replace(still_dependencies, appender=Broken())), BEARER)
    good = {"specversion": "1.0", "id": "e", "source": "s", "type": "t", "subject": "c"}

    answer = client.post("/api/v1/events", json=good)

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert sorted(body) == ["code", "instance", "status", "title", "type"]
    assert "secret" not in answer.text
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert body["instance"].removeprefix("urn:request:") in record.getMessage()
    assert "route=/api/v1/events" in record.getMessage()


class Unreachable:
    """A store that does not answer."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def with_timeout(self, _: float) -> "Unreachable":
        return self

    def query_bytes(self, *_: object) -> bytes:
        raise self._error

    def rows(self, *_: object, **__: object) -> list[object]:
        raise self._error


@pytest.mark.parametrize(
    ("error", "status", "code", "detail"),
    [
        (StoreUnavailable("http://user:pw@host"), 503, "store-unavailable", "the store cannot do this now, try again"),
        (StoreError("SELECT secret", 47), 500, "internal-error", None),
    ],
)
def test_a_failing_store_is_told_apart(
    portal: BlockingPortal,
    still_dependencies: Dependencies,
    error: Exception,
    status: int,
    code: str,
    detail: str | None,
) -> None:
    """Contract 0: the answer says whether to retry. The text of the driver's error goes only to the log."""
    broken = dataclasses.replace(still_dependencies, store=Unreachable(error))  # type: ignore[arg-type]
    client = ApiClient(portal, create_app(broken), BEARER)

    answer = client.get("/api/v1/meters/tokens_total/query")

    assert (answer.status_code, answer.json()["code"], answer.json().get("detail")) == (status, code, detail)
    assert answer.headers.get("retry-after") == ("1" if status == 503 else None)


def test_requests_are_counted_by_template(still: ApiClient) -> None:
    """Clients cannot create new time series."""

    def count(method: str, route: str, status: str) -> float:
        labels = {"method": method, "route": route, "status": status}
        return REGISTRY.get_sample_value("meterport_http_requests_total", labels) or 0

    wanted = [
        ("GET", "/api/v1/meters/{meter}", "404"),
        ("GET", "unmatched", "404"),
        ("other", "unmatched", "404"),
        ("other", "/api/v1/meters/{meter}", "405"),
    ]
    before = [count(*labels) for labels in wanted]

    still.get("/api/v1/meters/some_meter")
    still.get("/some/path")
    still.request("BREW", "/coffee")
    still.request("BREW", "/api/v1/meters/some_meter")

    assert [count(*labels) for labels in wanted] == [number + 1 for number in before]
