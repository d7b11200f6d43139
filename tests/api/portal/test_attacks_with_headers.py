"""Attacks with headers, as raw bytes on a real socket: only one correct header opens a portal route."""

import socket
import threading
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import uvicorn
from starlette.applications import Starlette

from api.dependencies import Dependencies
from api.server.server import HttpServer, uvicorn_config
from tests.api.conftest import KEY, Token
from tests.api.portal.conftest import METERS

pytestmark = pytest.mark.thorough


@pytest.fixture
def socket_server(still_app: Starlette, still_dependencies: Dependencies) -> Iterator[int]:
    """Run the application behind the real HTTP server. Yield its port."""
    ports: list[int] = []
    listening = threading.Event()

    def on_listening(port: int) -> None:
        ports.append(port)
        listening.set()

    config: uvicorn.Config = uvicorn_config(still_app, "127.0.0.1", 0, still_dependencies.settings)
    server = HttpServer(config, on_listening=on_listening)
    thread = threading.Thread(target=server.run)
    thread.start()
    assert listening.wait(30)
    yield ports[0]
    server.should_exit = True
    thread.join()


def raw_status(port: int, head: bytes) -> int:
    """Send raw bytes. Return the status, or 0 if the connection was closed without an answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head)
        received = b""
        while b"\r\n" not in received:
            chunk = connection.recv(4096)
            if not chunk:
                break
            received += chunk
    return int(received.split(b" ", 2)[1]) if received else 0


def test_headers_smuggle_nothing_in(socket_server: int, still_token: Token) -> None:
    """Contract 0: raw bytes on a socket. Only one correct header is accepted."""
    good = still_token("customer-1")["Authorization"].encode()
    key = f"Bearer {KEY}".encode()

    def ask(*headers: bytes, target: bytes = METERS.encode()) -> int:
        lines = [b"GET " + target + b" HTTP/1.1", b"Host: meterport", b"Connection: close", *headers]
        return raw_status(socket_server, b"\r\n".join(lines) + b"\r\n\r\n")

    token = good.removeprefix(b"Bearer ")
    assert ask(b"Authorization: " + good) == 200
    assert ask(b"authorization:\t" + good + b" \t") in {200, 401}  # white space around a value does not belong to it
    assert ask(b"Authorization: bearer  " + token) == 200  # case N33: RFC 9110, 11.1 and 11.4
    refused = [
        [b"Authorization: " + good, b"Authorization: " + good],
        [b"Authorization: " + key, b"Authorization: " + good],
        [b"Authorization: " + good + b", " + good],
        [b"Authorization: Bearer\t" + token],
        [b"Authorization: Bearer " + token + b" x"],
        [b"Authorization: Bearer\xc2\xa0" + token],
        [b"Authorization: Bearer " + token.replace(b"o", b"\xd0\xbe", 1)],  # a Cyrillic letter
        [b"Authorization: Bearer " + token + b"\xff"],
        [b"Authorization: " + token],
        [b"Authorization : " + good],
        [b"Authorization: Basic x\r\n " + good],
        [b"X: y\rAuthorization: " + good],
        [b"X: y\nX-Forwarded-Authorization: " + good],
        [b"X-Authorization: " + good],
        [b"Proxy-Authorization: " + good],
        [b"Cookie: token=" + token + b"; Authorization=" + good],
        [b"Authorization: Bearer " + token[:20] + b"\0" + token[20:]],
    ]
    for headers in refused:
        assert ask(*headers) in {400, 401, 0}, headers
    for target in (b"?token=" + token, b"?access_token=" + token, b"?authorization=" + token, b"?Authorization=x"):
        assert ask(target=METERS.encode() + target) == 401, target
    encoded = quote(f"\r\nAuthorization: {good.decode()}\r\n").encode()
    assert ask(target=METERS.encode() + encoded) in {401, 404}
    assert ask(target=METERS.encode() + b"?x=" + encoded) == 401
    assert ask(b"X: " + encoded) == 401
