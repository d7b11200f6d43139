"""The head of a request: its size and its number of fields are limited, and nothing of it is kept after the answer.

The tests use raw sockets and the real HTTP server. A refusal must arrive at the client as an answer.
"""

import orjson
import pytest
from starlette.applications import Starlette

from api.server.connections import Phase
from api.server.http_protocol import BoundedProtocol
from tests.harness.raw_http import Raw, eventually, port_of, serving


def head_of(size: int) -> bytes:
    """Return a complete head of a number of bytes."""
    start, end = b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"\r\n\r\n"
    return start + b"a" * (size - len(start) - len(end)) + end


@pytest.mark.parametrize("pieces", [1, 7])
def test_a_head_may_be_as_large_as_the_setting_says_and_no_byte_larger(port: int, pieces: int) -> None:
    """S1: 64 KiB in total. One byte more gives 431 and closes the connection, even before the head is complete."""
    with Raw(port) as client:
        assert client.ask(head_of(65_536)).status == 200
        assert client.ask(head_of(65_536)).status == 200  # the limit applies to each head separately
        step = 65_537 // pieces + 1
        head = head_of(70_000)[:65_537]
        for start in range(0, len(head), step):
            client.send(head[start : start + step])
        answer = client.read(until_closed=True)

    assert answer.problem() == (431, "head-too-large")
    assert orjson.loads(answer.body)["detail"] == "the request line and the header fields are longer than 65536 bytes"
    assert answer.headers["connection"] == "close"
    assert answer.closed


ENDLESS = {
    "fields": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"a: b\r\n", 431),
    "one field": (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"aaaaaa", 431),
    "name of a field": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"aaaaaa", 431),
    "URL": (b"GET /?", b"aaaaaa", 414),
    "empty lines": (b"", b"\r\n\r\n\r\n", 431),
}


@pytest.mark.parametrize("attack", ENDLESS)
def test_a_head_without_end_is_answered_and_its_client_can_read_the_answer(port: int, attack: str) -> None:
    """S1: 8 MB are sent before the client reads the answer. A reset would destroy the answer."""
    start, more, status = ENDLESS[attack]
    with Raw(port) as client:
        client.send(start + more * ((8 << 20) // len(more)))
        answer = client.read(until_closed=True)

    assert answer.status == status
    assert answer.closed


def test_the_number_of_header_fields_is_bounded(port: int) -> None:
    """S1: at most 100."""
    with Raw(port) as client:
        assert client.ask(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100 + b"\r\n").status == 200
        answer = client.ask(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 101 + b"\r\n")

    assert answer.problem() == (431, "head-too-large")
    assert orjson.loads(answer.body)["detail"] == "the request has more than 100 header fields"


def test_a_url_that_is_too_long_is_named(port: int) -> None:
    """S1: 414 is more helpful for a client than 431."""
    with Raw(port) as client:
        assert client.ask(b"GET /?" + b"a" * (32_768 - 2) + b" HTTP/1.1\r\nHost: x\r\n\r\n").status == 200
        answer = client.ask(b"GET /?" + b"a" * (32_768 - 1) + b" HTTP/1.1\r\nHost: x\r\n\r\n")

    assert answer.problem() == (414, "uri-too-long")


def test_a_refused_head_request_gets_a_head_alone(port: int) -> None:
    """RFC 9110 §9.3.2: an answer to HEAD has no body, whether the server or the application sends it."""
    with Raw(port) as client:
        client.send(b"HEAD / HTTP/1.1\r\n" + b"a: b\r\n" * 101 + b"\r\n")
        answer = client.read(method="HEAD", until_closed=True)

    assert answer.status == 431
    assert answer.closed


def test_nothing_of_an_answered_request_is_kept(app: Starlette) -> None:
    """S1, additional case: before, an idle connection kept its last head and up to 320 KB of an unread body."""
    body = bytes(300_000)
    with serving(app) as server, Raw(port_of(server)) as client:
        head = b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        assert client.ask(head + body).status == 404
        (connection,) = server.server_state.connections
        assert isinstance(connection, BoundedProtocol)
        eventually(lambda: connection.phase is Phase.IDLE, "idle")

        assert [vars(connection)[name] for name in ("cycle", "scope", "headers")] == [None, None, None]
