"""CORS: allowed on the portal routes, on all their answers, and on no other route."""

import dataclasses
from collections.abc import Callable

import pytest
from anyio.from_thread import BlockingPortal

from api.app import create_app
from api.dependencies import Dependencies
from engine.config.loading import load_settings
from engine.config.server_settings import ServerSettings
from engine.errors import ConfigurationError
from tests.harness.api_client import ApiClient

QUERY = "/api/v1/portal/meters/tokens_total/query"
PAGE = "https://app.example.com"
ALLOWED = "Accept, Accept-Language, Authorization, Content-Language, Content-Type, If-None-Match, Origin"
Token = Callable[..., dict[str, str]]


@pytest.fixture
def choosy(portal: BlockingPortal, still_dependencies: Dependencies) -> ApiClient:
    """A client of a server that allows one origin."""
    settings = still_dependencies.settings.model_copy(update={"server": ServerSettings(cors_origins=[PAGE])})
    return ApiClient(portal, create_app(dataclasses.replace(still_dependencies, settings=settings)))


def preflight(
    client: ApiClient, path: str, origin: str = PAGE, asked: str | None = "authorization", method: str = "GET"
) -> dict[str, str]:
    headers = {"Origin": origin, "Access-Control-Request-Method": method}
    if asked is not None:
        headers["Access-Control-Request-Headers"] = asked
    answer = client.request("OPTIONS", path, headers=headers)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["vary"].startswith("Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


@pytest.mark.parametrize(
    "path", [QUERY, "/api/v1/portal/meters", "/api/v1/portal/meters/x/group-by/y/values", "/api/v1/portal/subject"]
)
def test_a_preflight_is_answered(still: ApiClient, path: str) -> None:
    """D.23."""
    assert preflight(still, path) == {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "GET, POST, OPTIONS",
        "access-control-allow-headers": "authorization",
        "access-control-max-age": "3600",
    }


@pytest.mark.parametrize(
    "asked",
    [
        "authorization,baggage,sentry-trace,traceparent",
        "authorization,cache-control,pragma",
        "X-Datadog-Trace-Id, x-b3-traceid",
        "if-none-match",
        "content-type",
    ],
)
def test_a_preflight_allows_whatever_headers_the_page_sends(still: ApiClient, choosy: ApiClient, asked: str) -> None:
    """D.23; case N13: the tracing of a site adds headers to each request."""
    for client in (still, choosy):
        assert preflight(client, QUERY, asked=asked)["access-control-allow-headers"] == asked


def test_a_preflight_that_asks_for_no_header_names_those_of_the_api(still: ApiClient) -> None:
    assert preflight(still, QUERY, asked=None) == {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "GET, POST, OPTIONS",
        "access-control-allow-headers": ALLOWED,
        "access-control-max-age": "3600",
    }


@pytest.mark.parametrize("asked", ["a b", "a:b", "a,,b", "<script>", "x" * 9000, "авторизация"])
def test_what_is_no_list_of_headers_is_not_repeated(still: ApiClient, asked: str) -> None:
    """D.23: only names of headers are repeated."""
    headers = {
        b"Origin": PAGE.encode(),
        b"Access-Control-Request-Method": b"GET",
        b"Access-Control-Request-Headers": asked.encode(),
    }

    answer = still.request("OPTIONS", QUERY, headers=list(headers.items()))

    assert answer.headers["access-control-allow-headers"] == ALLOWED


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "GET", "get"])
def test_a_preflight_for_any_method_names_those_that_are_allowed(still: ApiClient, method: str) -> None:
    assert preflight(still, QUERY, method=method)["access-control-allow-methods"] == "GET, POST, OPTIONS"


def test_cookies_change_nothing(anyone: ApiClient, token: Token) -> None:
    """D.23: no credentials."""
    answer = anyone.get("/api/v1/portal/meters", headers={**token("a"), "Origin": PAGE, "Cookie": "a=b"})

    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


def test_every_answer_of_the_portal_can_be_read_by_a_page(anyone: ApiClient, token: Token) -> None:
    """D.23: errors too; no credentials."""
    mine = token("a")
    answers = [
        anyone.get("/api/v1/portal/meters", headers={**mine, "Origin": PAGE}),
        anyone.get("/api/v1/portal/subject", headers={**mine, "Origin": PAGE}),
        anyone.get(QUERY, headers={**mine, "Origin": PAGE}),
        anyone.get(QUERY, headers={"Origin": PAGE}),
        anyone.get(f"{QUERY}/nothing", headers={"Origin": PAGE}),
        anyone.request("DELETE", QUERY, headers={"Origin": PAGE}),
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 404, 401, 404, 405]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-expose-headers"] == (
            "ETag, Content-Disposition, Retry-After, WWW-Authenticate, X-Meterport-Grains, Date, Link"
        )
        assert "access-control-allow-credentials" not in answer.headers


def test_a_defect_too_can_be_read_by_a_page(portal: BlockingPortal, still_dependencies: Dependencies) -> None:
    broken = dataclasses.replace(still_dependencies, tokens=None)  # type: ignore[arg-type] # a defect
    answer = ApiClient(portal, create_app(broken)).get(QUERY, headers={"Origin": PAGE, "Authorization": "Bearer x"})

    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (500, "*")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/portal/tokens",
        "/api/v1/portal/metersx",
        "/api/v1/portal/subjects",
        "/api/v1/meters",
        "/api/v1/events",
        "/livez",
    ],
)
def test_other_routes_are_closed_to_pages(still: ApiClient, path: str) -> None:
    """D.23."""
    preflight_answer = still.request("OPTIONS", path, headers={"Origin": PAGE, "Access-Control-Request-Method": "GET"})
    answer = still.get(path, headers={"Origin": PAGE})

    assert preflight_answer.status_code in {404, 405}
    for found in (preflight_answer, answer):
        assert not any(name.startswith("access-control-") for name in found.headers)


def test_only_named_origins_are_let_in(choosy: ApiClient) -> None:
    """D.23: those of the setting. The answer tells caches that it depends on the origin."""
    allowed = choosy.get(QUERY, headers={"Origin": PAGE})
    refused = choosy.get(QUERY, headers={"Origin": "https://evil.example.com"})
    without = choosy.get(QUERY)

    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-origin" not in refused.headers
    assert [answer.headers["vary"] for answer in (allowed, refused, without)] == ["Origin"] * 3
    assert preflight(choosy, QUERY)["access-control-allow-origin"] == PAGE
    assert preflight(choosy, QUERY, "https://evil.example.com") == {}


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com/", "https://App.example.com", "app.example.com", "https://*.example.com", "null", "",
        "https://app.example.com:443", "http://app.example.com:80", "https://a.example,https://b.example", "https://",
        " https://app.example.com", "https://user@app.example.com", "https://app.example.com\n",
    ],
)  # fmt: skip
def test_a_text_that_no_browser_sends_as_an_origin_is_refused_at_start(origin: str) -> None:
    with pytest.raises(ConfigurationError, match=r"server\.cors_origins.* is not an origin as browsers send it"):
        load_settings(overrides={"server": {"cors_origins": [PAGE, origin]}})


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        PAGE,
        "http://localhost:3000",
        "https://[2001:db8::1]:8443",
        "capacitor://localhost",
        "https://xn--e1afmkfd.xn--p1ai",
    ],
)
def test_an_origin_as_browsers_send_it_is_accepted(origin: str) -> None:
    assert load_settings(overrides={"server": {"cors_origins": [origin]}}).server.cors_origins == [origin]
