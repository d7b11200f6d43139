"""The HTTP protocol passes over trailers and wishes for other protocols, and answers pipelined requests in order."""

import logging
import time

import orjson
import pytest
from starlette.applications import Starlette

from api.server.http_protocol import MAX_PIPELINED, BoundedProtocol
from api.server.server import HttpServer
from tests.api.connections.conftest import CHUNKED, GET, Gate
from tests.harness.raw_http import Raw, connections_ended, eventually, port_of, serving

# trailers, chunks, and requests for other protocols


@pytest.mark.parametrize("cut", [0, 3, 20])
def test_trailers_are_no_header_fields(port: int, cut: int) -> None:
    """S9: not in the same packet as the head, not later, and not as fields of the next request."""
    trailers = b"0\r\nAuthorization: Bearer x\r\nContent-Type: text/csv\r\n\r\n"
    with Raw(port) as client:
        client.send(CHUNKED + b"2\r\nab\r\n" + trailers[:cut])
        if cut:
            time.sleep(0.05)
        answer = client.ask(trailers[cut:])
        after = client.ask(CHUNKED + b"0\r\n\r\n")

    assert orjson.loads(answer.body) == {"fields": ["host", "transfer-encoding"], "body": "ab"}
    assert orjson.loads(after.body)["fields"] == ["host", "transfer-encoding"]


def test_trailers_authorise_nothing(still_app: Starlette) -> None:
    """S9, RFC 9110 §6.5.1: not even in the same packet."""
    with serving(still_app) as server, Raw(port_of(server)) as client:
        head = b"GET /api/v1/meters HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = client.ask(head + b"0\r\nAuthorization: Bearer a-management-key\r\n\r\n")

    assert answer.status == 401


OVERHEAD = {
    "extension": b"1;x=",
    "trailer": b"1\r\na\r\n0\r\nX: ",
    "size of a chunk": b"0" * 10,
}


@pytest.mark.parametrize("kind", OVERHEAD)
def test_what_is_no_content_of_a_body_is_bounded(port: int, kind: str) -> None:
    """S1, RFC 9112 §7.1.1: chunk extensions and trailers count toward the limit, although they are ignored."""
    filler = b"0" if kind == "size of a chunk" else b"a"
    with Raw(port) as client:
        client.send(CHUNKED + OVERHEAD[kind] + filler * 1_000_000)
        answer = client.read(until_closed=True)

    assert answer.problem() == (400, "malformed-request")
    assert answer.closed


def test_extensions_of_chunks_are_passed_over(port: int) -> None:
    """RFC 9112 §7.1.1: unknown extensions must be ignored."""
    with Raw(port) as client:
        answer = client.ask(CHUNKED + b"2;a=b;c\r\nab\r\n1\r\nc\r\n0;last\r\n\r\n")

    assert orjson.loads(answer.body)["body"] == "abc"


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"


@pytest.mark.parametrize("in_one", [True, False])
def test_a_wish_for_another_protocol_costs_no_body(port: int, in_one: bool) -> None:
    """S9, additional case, as Java's client sends it. Before, the body was lost or parsed as the next request."""
    body = b"GET /held HTTP/1.1\r\nHost: smuggled\r\n\r\n"
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % len(body) + UPGRADE + b"\r\n"
    with Raw(port) as client:
        if in_one:
            client.send(head + body)
        else:
            client.send(head)
            time.sleep(0.05)
            client.send(body)
        answer = client.read()
        after = client.ask(b"GET / HTTP/1.1\r\nHost: x\r\n" + UPGRADE + b"\r\n" + GET)
        last = client.read()

    assert orjson.loads(answer.body) == {"fields": ["host", "content-length"], "body": body.decode()}
    assert (after.body, last.body) == (b"home", b"home")


def test_connect_is_refused(port: int) -> None:
    """The bytes after CONNECT are not HTTP, so they are not parsed."""
    with Raw(port) as client:
        client.send(b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
        answer = client.read(until_closed=True)

    assert answer.problem() == (400, "malformed-request")
    assert answer.closed


# pipelined requests


def test_pipelined_requests_are_answered_in_order_whatever_becomes_of_the_last(port: int, gate: Gate) -> None:
    """Additional case: before, the 400 of the last request came among the answers to the earlier requests."""
    with Raw(port) as client:
        client.send(
            b"".join(b"GET /held?%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(5)) + b"\0\r\n\r\n"
        )
        eventually(lambda: gate.held == 1, "the first request is held")
        gate.open.set()
        bodies = [client.read().body for _ in range(5)]
        last = client.read(until_closed=True)

    assert bodies == [b"0", b"1", b"2", b"3", b"4"]
    assert last.problem() == (400, "malformed-request")
    assert last.closed


def test_no_more_than_some_requests_of_a_connection_wait(app: Starlette, gate: Gate) -> None:
    """S1, additional case: a packet of 256 KB contained 7,000 requests, and each answer admitted the next packet."""
    with serving(app) as server, Raw(port_of(server)) as client:
        client.send(b"GET /held HTTP/1.1\r\n\r\n" + b"GET / HTTP/1.1\r\n\r\n" * 7_000)
        eventually(lambda: gate.held == 1, "the first request is held")
        eventually(lambda: connections_ended("too-many-pipelined") >= 1, "the others are counted")
        (connection,) = server.server_state.connections
        assert len(connection.pipeline) == MAX_PIPELINED  # type: ignore[union-attr]
        gate.open.set()
        statuses = [client.read().status for _ in range(MAX_PIPELINED + 2)]
        assert client.closed()

    assert statuses == [200] * (MAX_PIPELINED + 1) + [503]


# log lines, and the server library


def test_clients_cannot_fill_the_log(port: int, caplog: pytest.LogCaptureFixture) -> None:
    """S10: 20 invalid requests of one kind give at most one line a minute, but all are counted."""
    before = connections_ended("malformed")
    with caplog.at_level(logging.INFO):
        for _ in range(20):
            with Raw(port) as client:
                assert client.ask(b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").status == 200
            with Raw(port) as client:
                assert client.ask(b"SSH-2.0-x\r\n\r\n").problem() == (400, "malformed-request")

    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert set(lines) <= {"connection_ended reason=malformed"}
    assert len(lines) <= 1
    assert connections_ended("malformed") == before + 20


def test_the_server_library_is_what_our_protocol_leans_on(app: Starlette) -> None:
    """Everything that we override or use exists; its neighbours check what it does. A changed release fails here."""
    ours = {name for kind in BoundedProtocol.__mro__[:2] for name in vars(kind)}
    theirs = BoundedProtocol.__mro__[2]

    overridden = {
        "connection_made", "connection_lost", "data_received", "shutdown", "pause_writing", "resume_writing", "on_url",
        "on_header", "on_headers_complete", "on_body", "on_message_complete", "on_response_complete",
    }  # fmt: skip
    assert overridden <= ours & set(vars(theirs))
    assert isinstance(theirs, type)
    with serving(app) as server, Raw(port_of(server)) as client:
        assert isinstance(server, HttpServer)
        assert server.config.ws_protocol_class is None
        client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
        eventually(lambda: bool(server.server_state.tasks), "the request is begun")
        (connection,) = server.server_state.connections
        cycle = connection.cycle  # type: ignore[union-attr]
        names = {"response_started", "response_complete", "disconnected", "waiting_for_100_continue", "more_body"}
        assert names | {"body", "message_event", "transport", "keep_alive"} <= set(vars(cycle))
