"""Which requests a server without a key answers, and that each request names exactly one host (case S4)."""

import dataclasses
import socket
from collections.abc import Iterator

import httpx
import pytest
from anyio.from_thread import BlockingPortal

from api.app import create_app
from api.dependencies import Dependencies
from tests.api.test_auth import FOR_TOKENS, OPEN, Token, calls
from tests.harness.api_client import ApiClient
from tests.harness.server import Server

METERS = "/api/v1/meters"
PORTAL = "/api/v1/portal/meters"
LOCAL = {"Host": "127.0.0.1:8888"}
REBOUND = {
    "Host": "evil.example:8888",
    "Origin": "http://evil.example:8888",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "cors",
}


@pytest.fixture
def keyless(portal: BlockingPortal, still_dependencies: Dependencies) -> ApiClient:
    settings = still_dependencies.settings.model_copy(update={"api_key": None})
    return ApiClient(portal, create_app(dataclasses.replace(still_dependencies, settings=settings)))


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost"},
        {"Host": "LOCALHOST:8888"},
        {"Host": "127.0.0.1:8888"},
        {"Host": "[::1]:8888"},
        {**LOCAL, "Origin": "http://localhost:3000", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
        {**LOCAL, "Origin": "https://127.0.0.1:3000"},
        {**LOCAL, "Origin": "http://[::1]:3000", "Sec-Fetch-Site": "same-site"},
        {**LOCAL, "Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {**LOCAL, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {**LOCAL, "Sec-Fetch-Site": "same-origin"},
    ],
    ids=str,
)
def test_a_server_without_a_key_answers_its_own_machine(keyless: ApiClient, headers: dict[str, str]) -> None:
    assert keyless.get(METERS, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (REBOUND, "the request is for host 'evil.example:8888'"),
        ({"Host": "evil.example"}, "the request is for host 'evil.example'"),
        ({"Host": ""}, "the request is for host ''"),
        ({"Host": "127.0.0.1.evil.example"}, "the request is for host "),
        ({"Host": "localhost.evil.example:1"}, "the request is for host "),
        ({"Host": "localhost:1:2"}, None),
        ({"Host": "0.0.0.0:8888"}, "the request is for host "),
        ({"Host": "10.0.0.5"}, "the request is for host "),
        ({**LOCAL, "Origin": "http://evil.example"}, "the request comes from a page of 'http://evil.example'"),
        ({**LOCAL, "Origin": "null"}, "the request comes from a page of 'null'"),
        ({**LOCAL, "Origin": "http://localhost.evil.example"}, "the request comes from a page of "),
        ({**LOCAL, "Origin": "http://localhost:1@evil.example"}, "the request comes from a page of "),
        ({**LOCAL, "Origin": "http://localhost, http://evil.example"}, "the request comes from a page of "),
        (
            {**LOCAL, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
            "the request comes from a page of another",
        ),
        (
            {**LOCAL, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
            "the request comes from a page of another site",
        ),
        ({**LOCAL, "X-Forwarded-For": "192.0.2.1"}, "through a proxy, which sent x-forwarded-for"),
        ({**LOCAL, "X-Forwarded-Host": "localhost"}, "through a proxy, which sent x-forwarded-host"),
        ({**LOCAL, "Forwarded": "for=192.0.2.1"}, "through a proxy, which sent forwarded"),
        ({**LOCAL, "Via": "1.1 proxy"}, "through a proxy, which sent via"),
        ({**LOCAL, "X-Real-IP": "192.0.2.1"}, "through a proxy, which sent x-real-ip"),
    ],
    ids=str,
)
def test_a_server_without_a_key_answers_nobody_else(
    keyless: ApiClient, headers: dict[str, str], reason: str | None
) -> None:
    """Before, DNS rebinding gave any page the whole management API, and a proxy gave it to the internet."""
    answer = keyless.get(METERS, headers=headers)

    if reason is None:
        assert answer.status_code == 400
        return
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "METERPORT_API_KEY" in answer.json()["detail"]
    assert reason in answer.json()["detail"]


def test_every_managed_route_of_a_server_without_a_key_is_guarded(
    portal: BlockingPortal, still_dependencies: Dependencies, still_token: Token
) -> None:
    """No other route is guarded: a portal token must work from any page, because that is its purpose."""
    settings = still_dependencies.settings.model_copy(update={"api_key": None})
    app = create_app(dataclasses.replace(still_dependencies, settings=settings))
    client, mine = ApiClient(portal, app), still_token("customer-1")

    for method, path, template in calls(app):
        answer = client.request(method, path, headers={**REBOUND, **mine})
        is_managed = template not in OPEN and not template.startswith(FOR_TOKENS)
        assert (answer.status_code == 403) is is_managed, (method, path, answer.status_code)

    asked = client.get(PORTAL, headers={**REBOUND, **mine, "X-Forwarded-For": "192.0.2.1"})
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, "*")


def test_a_server_with_a_key_answers_for_any_host(still: ApiClient) -> None:
    headers = {**REBOUND, "X-Forwarded-For": "192.0.2.1", "Via": "1.1 proxy"}

    assert still.get(METERS, headers=headers).status_code == 200


# over the wire


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """A server without a key and one with."""
    keyless = Server(tmp_path_factory.mktemp("keyless"))
    keyed = Server(tmp_path_factory.mktemp("keyed"), variables={"METERPORT_API_KEY": "a-key-of-these-tests"})
    for server in (keyless, keyed):
        server.start()
    yield {"keyless": keyless, "keyed": keyed}
    for server in (keyless, keyed):
        assert server.terminate() == 0, server.tail()


def raw(server: Server, head: str) -> tuple[int, str]:
    """Send the head of a request. Return the status and the whole answer."""
    url = httpx.URL(str(server.url))
    with socket.create_connection((url.host, url.port or 80), timeout=60) as connection:
        connection.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode("latin-1"))
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
    return int(answer.split()[1]), answer.decode()


@pytest.mark.parametrize("name", ["keyless", "keyed"])
@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("GET /livez HTTP/1.1\r\nX: y", "header host is missing"),
        ("GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost", "header host appears twice"),
        ("GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example", "header host appears twice"),
        ('GET /livez HTTP/1.1\r\nHost: a b"<>', "header host is not a valid host"),
        ("GET /livez HTTP/1.1\r\nHost: localhost/x", "header host is not a valid host"),
        ("GET /livez HTTP/1.1\r\nHost: user@localhost", "header host is not a valid host"),
        ("GET http://localhost/livez HTTP/1.1\r\nX: y", "header host is missing"),
    ],
)
def test_a_request_names_one_host(servers: dict[str, Server], name: str, head: str, reason: str) -> None:
    """RFC 9112, 3.2: other parts of a request that name a host must not differ from the Host header."""
    status, answer = raw(servers[name], head)

    assert status == 400
    assert reason in answer


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /livez HTTP/1.0", 200),
        ("GET /livez HTTP/1.1\r\nHost:", 200),
        ("GET /livez HTTP/1.1\r\nHost: any.example:80", 200),
        ("GET /api/v1/meters HTTP/1.0", 403),
        ("GET /api/v1/meters HTTP/1.1\r\nHost: localhost", 200),
        ("GET http://localhost/api/v1/meters HTTP/1.1\r\nHost: evil.example", 200),
        ("GET http://[::1]:99/api/v1/meters HTTP/1.1\r\nHost: evil.example", 200),
        ("GET http://evil.example/api/v1/meters HTTP/1.1\r\nHost: localhost", 403),
        ("GET http://evil.example:80/api/v1/meters HTTP/1.1\r\nHost: 127.0.0.1", 403),
        ("GET http://localhost@evil.example/api/v1/meters HTTP/1.1\r\nHost: localhost", 403),
    ],
)
def test_the_host_of_a_request_is_that_of_its_target_if_it_has_one(
    servers: dict[str, Server], head: str, status: int
) -> None:
    """RFC 9112, 3.2.2."""
    found, answer = raw(servers["keyless"], head)

    assert found == status, answer
