"""Authentication: the API key opens only management routes, and a portal token only portal routes."""

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from anyio.from_thread import BlockingPortal
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from api.app import MAX_WRONG_KEY_ADDRESSES, create_app
from api.dependencies import Dependencies
from api.http.auth import client_address
from api.http.limits import RequestLimit
from api.http.routing import Resource
from engine.tokens.portal_tokens import PortalTokens
from tests.api.conftest import KEY, SIGNING_KEY
from tests.harness.api_client import ApiClient
from tests.harness.tokens import with_wrong_signature

PORTAL = "/api/v1/portal/meters"
FOR_TOKENS = (PORTAL, "/api/v1/portal/subject")  # and the paths below them
OPEN = {"/livez", "/readyz", "/version", "/openapi.json", "/portal", "/portal/{file}"}
Token = Callable[..., dict[str, str]]


def calls(app: Starlette) -> Iterator[tuple[str, str, str]]:
    """Return each method and path of the application, with its template."""
    for route in app.routes:
        assert isinstance(route, Route)
        assert isinstance(route.endpoint, Resource)
        path = route.path.replace("{meter}", "m").replace("{slug}", "m").replace("{key}", "k")
        for method in sorted(route.methods or ()):
            yield method, path.replace("{subject:path}", "s"), route.path


def test_every_route_but_the_open_ones_asks_who_calls(stranger: ApiClient, still_app: Starlette) -> None:
    """D.1, D.21: credentials are checked before any parameter."""
    for method, path, template in calls(still_app):
        answer = stranger.request(method, f"{path}?limit=x&from=x&order=x")

        if template in OPEN:
            assert answer.status_code == (404 if template == "/portal/{file}" else 200), template  # no such file
        else:
            assert answer.status_code == 401, (method, template)
            assert answer.headers["www-authenticate"] == "Bearer"
            if method != "HEAD":
                assert answer.json()["detail"] == "missing authorization header"


def test_a_portal_token_opens_portal_routes_only(stranger: ApiClient, still_app: Starlette, still_token: Token) -> None:
    """D.1."""
    mine = still_token("customer-1")

    for method, path, template in calls(still_app):
        if template not in OPEN and not template.startswith(FOR_TOKENS):
            answer = stranger.request(method, path, headers=mine)
            assert answer.status_code == 401, (method, template)
            if method != "HEAD":
                assert answer.json()["detail"] == "invalid api key"


def test_the_api_key_opens_no_portal_route(still: ApiClient, still_app: Starlette) -> None:
    """D.1."""
    for method, path, template in calls(still_app):
        if template.startswith(FOR_TOKENS):
            answer = still.request(method, path)
            assert answer.status_code == 401, (method, template)
            if method != "HEAD":
                assert answer.json()["detail"] == "invalid token: malformed"


@pytest.mark.parametrize("path", ["/api/v1/meters", PORTAL])
@pytest.mark.parametrize(
    ("header", "detail"),
    [
        ("", "invalid authorization header"),
        ("Bearer", "invalid authorization header"),
        ("Bearer ", "invalid authorization header"),
        (f"Basic {KEY}", "invalid authorization header"),
        (f"Bearer{KEY}", "invalid authorization header"),
        (f"Bearer\xa0{KEY}".encode("latin-1"), "invalid authorization header"),
        (f"Bearer\t{KEY}", "invalid authorization header"),
        (f"Bearer \t{KEY}", "invalid authorization header"),
        (f"Bearer={KEY}", "invalid authorization header"),
        (KEY, "invalid authorization header"),
        (f"Bearer {KEY} x", "invalid authorization header"),
        (f"Token {KEY}", "invalid authorization header"),
    ],
)
def test_an_authorization_header_has_two_parts(
    stranger: ApiClient, path: str, header: str | bytes, detail: str
) -> None:
    """Contract 1.4."""
    answer = stranger.get(path, headers=[(b"Authorization", header if isinstance(header, bytes) else header.encode())])

    assert (answer.status_code, answer.json()["detail"]) == (401, detail)
    assert (answer.json()["title"], answer.json()["code"]) == ("Unauthorized", "unauthorized")


@pytest.mark.parametrize("scheme", ["bearer ", "BEARER ", "bEaReR ", "Bearer  ", "bearer    "])
def test_the_scheme_is_read_in_any_case_and_with_any_number_of_spaces_behind_it(
    stranger: ApiClient, still_token: Token, scheme: str
) -> None:
    """D.28; case N33: RFC 9110, 11.1 and 11.4."""
    mine = still_token("customer-1")["Authorization"].removeprefix("Bearer ")

    assert stranger.get("/api/v1/meters", headers={"Authorization": f"{scheme}{KEY}"}).status_code == 200
    assert stranger.get(PORTAL, headers={"Authorization": f"{scheme}{mine}"}).status_code == 200


def test_every_401_says_which_scheme_is_asked_for(stranger: ApiClient, still_token: Token) -> None:
    """D.28; case N33: RFC 9110, 15.5.2 requires that for every 401."""
    mine = still_token("customer-1")
    answers = [
        stranger.get("/api/v1/meters"),
        stranger.get("/api/v1/meters", headers=mine),
        stranger.get("/api/v1/meters", headers={"Authorization": "Basic x"}),
        stranger.get(PORTAL),
        stranger.get(PORTAL, headers={"Authorization": f"Bearer {KEY}"}),
        stranger.get(PORTAL, headers={"Authorization": f"{mine['Authorization']}x"}),
    ]

    assert [(answer.status_code, answer.headers["www-authenticate"]) for answer in answers] == [(401, "Bearer")] * 6


def test_two_authorization_headers_are_one_too_many(stranger: ApiClient) -> None:
    answer = stranger.get(
        "/api/v1/meters", headers=[("Authorization", f"Bearer {KEY}"), ("Authorization", f"Bearer {KEY}")]
    )

    assert (answer.status_code, answer.json()["detail"]) == (401, "invalid authorization header")


@pytest.mark.parametrize("key", ["wrong", KEY[:-1], f"{KEY}x", KEY.upper(), "ключ"])
def test_a_wrong_key_is_refused(stranger: ApiClient, key: str) -> None:
    """D.1."""
    answer = stranger.get("/api/v1/meters", headers={"Authorization": f"Bearer {key}".encode()})

    assert (answer.status_code, answer.json()["detail"]) == (401, "invalid api key")


def limited(dependencies: Dependencies, per_minute: int) -> Starlette:
    """Return an application that allows a number of wrong keys a minute."""
    server = dependencies.settings.server.model_copy(update={"wrong_keys_per_minute": per_minute})
    return create_app(
        dataclasses.replace(dependencies, settings=dependencies.settings.model_copy(update={"server": server}))
    )


def test_whoever_tries_wrong_keys_is_told_to_wait_and_the_right_key_is_taken_all_the_same(
    portal: BlockingPortal, still_dependencies: Dependencies, still_token: Token
) -> None:
    """Case S12: behind a proxy all clients have one address, so a flood must not lock out anybody."""
    client = ApiClient(portal, limited(still_dependencies, 5))
    tries = [{}, {"Authorization": "Basic x"}, *[{"Authorization": f"Bearer guess-{number}"} for number in range(98)]]

    answers = [client.get("/api/v1/meters", headers=headers) for headers in tries]
    statuses = [answer.status_code for answer in answers]

    assert statuses[:5] == [401] * 5
    assert set(statuses[5:]) <= {401, 429}
    assert statuses.count(429) > 50
    told = next(answer for answer in answers if answer.status_code == 429)
    assert told.json()["detail"] == "too many requests with a wrong key"
    assert (told.json()["code"], told.headers["cache-control"]) == ("too-many-requests", "no-store")
    assert 1 <= int(told.headers["retry-after"]) <= 60
    assert client.get("/api/v1/meters", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
    assert client.get(PORTAL, headers=still_token("customer-1")).status_code == 200
    assert client.get(PORTAL).status_code == 401
    assert client.get("/livez").status_code == 200


@pytest.mark.parametrize(
    ("client", "counted_as"),
    [
        (("192.0.2.1", 1), "192.0.2.1"),
        (("2001:db8::1", 1), "2001:db8::/64"),
        (("2001:db8::ffff:1", 2), "2001:db8::/64"),
        (("2001:db8:0:1::1", 1), "2001:db8:0:1::/64"),
        (("fe80::1%eth0", 1), "fe80::/64"),
        (("no address:", 1), "no address:"),
        (None, ""),
    ],
)
def test_wrong_keys_are_counted_by_address(client: tuple[str, int] | None, counted_as: str) -> None:
    """Case S12: IPv6 addresses are counted by the network that one host has for itself."""
    assert client_address(Request({"type": "http", "client": client})) == counted_as


def test_the_addresses_that_are_counted_are_bounded() -> None:
    """Case S12."""
    limit = RequestLimit(1, max_buckets=MAX_WRONG_KEY_ADDRESSES)

    for number in range(MAX_WRONG_KEY_ADDRESSES + 100):
        limit.take(str(number), 0.0)

    assert len(limit) == MAX_WRONG_KEY_ADDRESSES


@pytest.mark.parametrize("space", [b"\xa0", b"\x85", b"\x1c", b"\x1f", b"\x0b", b"\x0c"], ids=repr)
def test_only_spaces_and_tabs_are_no_part_of_a_credential(
    stranger: ApiClient, still_token: Token, space: bytes
) -> None:
    """Contract 1.3: only exactly the text that was issued is accepted."""
    key, mine = f"Bearer {KEY}".encode(), still_token("customer-1")["Authorization"].encode()

    for path, credential in (("/api/v1/meters", key), (PORTAL, mine)):
        for header in (credential + space, space + credential):
            assert stranger.get(path, headers={"Authorization": header}).status_code == 401
        assert stranger.get(path, headers={"Authorization": b" \t" + credential + b"\t "}).status_code == 200


def test_the_header_is_trimmed(stranger: ApiClient) -> None:
    """Contract 1.4."""
    assert stranger.get("/api/v1/meters", headers={"Authorization": f"  Bearer {KEY}  "}).status_code == 200


def test_the_key_may_be_configured_by_its_hash(portal: BlockingPortal, still_dependencies: Dependencies) -> None:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    settings = still_dependencies.settings.model_copy(update={"api_key": None, "api_key_sha256": digest})
    client = ApiClient(portal, create_app(dataclasses.replace(still_dependencies, settings=settings)))

    assert client.get("/api/v1/meters").status_code == 401
    assert client.get("/api/v1/meters", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200


def test_without_a_key_configured_management_is_open(portal: BlockingPortal, still_dependencies: Dependencies) -> None:
    """D.21: only on loopback, which the settings enforce. The portal still accepts only tokens."""
    settings = still_dependencies.settings.model_copy(update={"api_key": None})
    app = create_app(dataclasses.replace(still_dependencies, settings=settings))
    client = ApiClient(portal, app, {"Host": "localhost:8888"})

    assert client.get("/api/v1/meters").status_code == 200
    assert client.get("/api/v1/meters", headers={"Authorization": "Bearer whatever"}).status_code == 200
    assert client.get("/metrics").status_code == 200
    assert client.get(PORTAL).status_code == 401


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (lambda text: text[:20], "invalid token: malformed"),
        (lambda text: text.removeprefix("om_portal_"), "invalid token: malformed"),
        (with_wrong_signature, "invalid token: bad signature"),
        (lambda text: text.replace("om_portal_", "om_portal_A", 1), "invalid token: bad signature"),
    ],
    ids=["cut off", "no prefix", "signature changed", "payload changed"],
)
def test_a_bad_token_is_told_shortly(
    stranger: ApiClient, still_token: Token, change: Callable[[str], str], detail: str
) -> None:
    """D.2."""
    text = change(still_token("customer-1")["Authorization"].split()[1])

    answer = stranger.get(PORTAL, headers={"Authorization": f"Bearer {text}"})

    assert (answer.status_code, answer.json()["detail"]) == (401, detail)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_an_expired_token_is_told_so(portal: BlockingPortal, dependencies: Dependencies, token: Token) -> None:
    """D.2."""
    mine = token("customer-1")
    tomorrow = PortalTokens(
        dependencies.store,
        [SIGNING_KEY],
        dependencies.settings.portal,
        clock=lambda: datetime.now(UTC) + timedelta(hours=25),
    )
    later = ApiClient(portal, create_app(dataclasses.replace(dependencies, tokens=tomorrow)))

    answer = later.get(PORTAL, headers=mine)

    assert (answer.status_code, answer.json()["detail"]) == (401, "invalid token: expired")


def test_no_credential_is_ever_logged(
    portal: BlockingPortal,
    dependencies: Dependencies,
    anyone: ApiClient,
    token: Token,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Design section 6."""
    with caplog.at_level(logging.DEBUG):
        mine = token("customer-1")
        anyone.get(PORTAL, headers=mine)
        anyone.get(PORTAL, headers={"Authorization": f"{mine['Authorization']}x"})
        anyone.get("/api/v1/meters", headers=mine)
        broken = dataclasses.replace(dependencies, registry=None, tokens=None)  # type: ignore[arg-type] # a defect
        for path in (PORTAL, "/api/v1/meters"):
            for header in (mine["Authorization"], f"Bearer {KEY}"):
                ApiClient(portal, create_app(broken)).get(path, headers={"Authorization": header})

    assert "request_failed" in caplog.text
    assert mine["Authorization"].split()[1] not in caplog.text
    assert KEY not in caplog.text
