"""Limits on connections: the size of a head, the time a client may take, their number; and how connections end.

The tests use raw sockets and the real HTTP server. A refusal must arrive at the client as an answer. The tests wait for
results, not for times. Where a deadline is short, the client of the test never tries to keep it.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api.server.connections import Phase
from api.server.http_protocol import MAX_PIPELINED, BoundedProtocol
from api.server.server import HttpServer
from engine.config.server_settings import ServerSettings
from engine.metrics import CONNECTIONS
from tests.harness.raw_http import (
    TIMEOUT_SECONDS,
    Answer,
    Raw,
    connections_ended,
    eventually,
    port_of,
    serving,
    value_of,
)

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 32 << 20


class Gate:
    """Holds the requests to /held until a test opens it."""

    def __init__(self) -> None:
        self.held = 0
        self.open = threading.Event()

    async def hold(self, request: Request) -> Response:
        self.held += 1
        while not self.open.is_set():
            await asyncio.sleep(0.01)
        return PlainTextResponse(request.url.query)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


@pytest.fixture
def app(gate: Gate) -> Starlette:
    async def home(_: Request) -> Response:
        return PlainTextResponse("home")

    async def echo(request: Request) -> Response:
        body = await request.body()
        return JSONResponse({"fields": request.headers.keys(), "body": body.decode()})

    async def late(request: Request) -> Response:
        await asyncio.sleep(4)
        return PlainTextResponse(str(len(await request.body())))

    async def unread(_: Request) -> Response:
        return Response(status_code=404)

    async def unread_and_closed(_: Request) -> Response:
        return Response(b"no", status_code=413, headers={"Connection": "close"})

    async def large(_: Request) -> Response:
        return Response(bytes(LARGE))

    routes = [
        Route("/", home),
        Route("/echo", echo, methods=["POST"]),
        Route("/late", late, methods=["POST"]),
        Route("/unread", unread, methods=["POST"]),
        Route("/closed", unread_and_closed, methods=["POST"]),
        Route("/large", large),
        Route("/held", gate.hold),
    ]
    return Starlette(routes=routes)


@pytest.fixture
def port(app: Starlette) -> Iterator[int]:
    with serving(app) as server:
        yield port_of(server)


def head_of(size: int) -> bytes:
    """Return a complete head of a number of bytes."""
    start, end = b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"\r\n\r\n"
    return start + b"a" * (size - len(start) - len(end)) + end


# the head


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


# trailers, chunks, and requests for other protocols


CHUNKED = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


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


# deadlines


def test_a_connection_that_sends_nothing_is_closed(app: Starlette) -> None:
    """S2: it is closed without an answer, because there was no request."""
    before = connections_ended("no-request")
    with serving(app, first_byte_seconds=0.1) as server, Raw(port_of(server)) as client:
        assert client.closed()

    assert connections_ended("no-request") == before + 1


def test_a_head_that_does_not_end_is_answered_408(app: Starlette) -> None:
    """S2: also if a field arrives now and then, and also for the second head of a connection."""
    with serving(app, head_seconds=0.3) as server:
        for first in (b"", GET):
            with Raw(port_of(server)) as client:
                if first:
                    assert client.ask(first).status == 200
                answer = dripped(client, b"GET / HTTP/1.1\r\nHost: x\r\n", b"a: b\r\n")
                assert answer.problem() == (408, "request-timeout")
                assert answer.closed


def test_the_first_byte_of_a_head_begins_it(app: Starlette) -> None:
    """On a new connection and after an answered request: both are no longer idle, so both get an answer."""
    with serving(app, head_seconds=0.5, first_byte_seconds=600, keep_alive_seconds=600) as server:
        for before in (b"", GET):
            with Raw(port_of(server)) as client:
                if before:
                    assert client.ask(before).status == 200
                client.send(b"\r\nPO")
                assert client.read(until_closed=True).problem() == (408, "request-timeout")


@pytest.mark.parametrize("drop", [b"", b"1\r\na\r\n", b"1;x"])
def test_a_body_that_pauses_or_crawls_is_answered_408(app: Starlette, drop: bytes) -> None:
    """S2: nothing arrives, or a byte now and then, or an endless chunk extension."""
    before = connections_ended("slow-body")
    with serving(app, body_seconds=0.3) as server, Raw(port_of(server)) as client:
        answer = dripped(client, CHUNKED + b"2\r\nab\r\n", drop)

    assert answer.problem() == (408, "request-timeout")
    assert answer.closed
    assert connections_ended("slow-body") == before + 1


def dripped(client: Raw, start: bytes, drop: bytes) -> Answer:
    """Send a part of a request, then a few bytes now and then, until an answer comes."""
    client.send(start)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    client.socket.settimeout(0.05)
    while time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            if client.more():
                break
        client.send(drop)
    client.socket.settimeout(TIMEOUT_SECONDS)
    return client.read(until_closed=True)


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
def test_a_body_is_not_late_while_the_server_does_not_read_it(app: Starlette, expect: bytes) -> None:
    """S2: time that a handler needs before reading does not count, and neither does waiting for `100 Continue`."""
    body = bytes(500_000)  # more than is read before the handler reads, but no more than the kernel buffers
    head = b"POST /late HTTP/1.1\r\nHost: x\r\n" + expect + b"Content-Length: %d\r\n\r\n" % len(body)
    with serving(app, body_seconds=2) as server, Raw(port_of(server)) as client:
        client.send(head if expect else head + body)
        if expect:
            assert client.read().status == 100
            client.send(body)
        answer = client.read()

    assert (answer.status, answer.body) == (200, b"500000")


def test_a_client_that_does_not_read_its_answer_is_closed(app: Starlette) -> None:
    """S2, additional case: before, an answer of 32 MB that the client never read was kept for ever."""
    before = connections_ended("answer-not-read")
    with serving(app, answer_seconds=0.3) as server, Raw(port_of(server), receive_buffer=4096) as client:
        client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: connections_ended("answer-not-read") == before + 1, "the connection is ended")
        eventually(lambda: not server.server_state.connections, "the connection is gone")


def test_a_client_that_reads_slowly_gets_its_answer(app: Starlette) -> None:
    """S2: only progress counts, not the total time."""
    with serving(app, answer_seconds=5) as server, Raw(port_of(server), receive_buffer=65536) as client:
        client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert len(client.read().body) == LARGE


def test_an_idle_connection_that_is_closed_does_not_wait_for_its_client_to_read(app: Starlette) -> None:
    """S2, additional case: `close` waits until all is sent, so a client that did not read kept its connection."""
    unread: dict[str, Any] = {"keep_alive_seconds": 0.1, "answer_seconds": 600}
    with serving(app, **unread) as server, Raw(port_of(server), receive_buffer=4096) as client:
        client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: bool(server.server_state.connections), "the connection is there")
        eventually(lambda: not server.server_state.connections, "the connection is gone")


def test_an_idle_connection_is_kept_for_longer_than_proxies_keep_theirs(app: Starlette) -> None:
    """N17: proxies close theirs after 60 s. A server that closes earlier loses the requests that are on their way."""
    assert ServerSettings().keep_alive_seconds > 60
    with serving(app) as server:
        assert server.config.connections.limits.keep_alive_seconds == 75  # type: ignore[attr-defined]


def test_idle_connections_are_closed_when_the_setting_says_so_and_not_before(app: Starlette) -> None:
    """N17: several connections; the time starts with the answer."""
    with serving(app, keep_alive_seconds=1.2) as server:
        clients = [Raw(port_of(server)) for _ in range(10)]
        began = []
        for client in clients:
            began.append(time.monotonic())
            assert client.ask(GET).status == 200
        for client, at in zip(clients, began, strict=True):
            assert client.closed()
            assert time.monotonic() - at > 1.2
            client.socket.close()


def test_idle_connections_are_used_again_after_the_five_seconds_of_the_library(app: Starlette) -> None:
    """N17: before, 500 of them were closed after 5.0 s, some during a request. The test moves the table's clock."""
    with serving(app) as server:
        clients = [Raw(port_of(server)) for _ in range(10)]
        for client in clients:
            assert client.ask(GET).status == 200
        table = server.config.connections  # type: ignore[attr-defined]
        table._clock += 70  # as after 280 rounds
        before = table._clock
        eventually(lambda: table._clock > before, "the connections are looked at")
        for client in clients:
            assert client.ask(GET).status == 200
            client.socket.close()


def test_empty_lines_between_requests_are_passed_over(app: Starlette) -> None:
    """RFC 9112 §2.2: old clients send one after a body. It does not begin a head, and must not time out like one."""
    before = connections_ended("slow-head")
    with serving(app, head_seconds=0.1, keep_alive_seconds=1.2) as server, Raw(port_of(server)) as client:
        assert client.ask(GET + b"\r\n").status == 200
        assert client.closed()

    assert connections_ended("slow-head") == before


# the number of connections


def open_connections() -> float:
    return value_of(CONNECTIONS.labels("api"))


def test_a_connection_over_the_number_is_told_so(app: Starlette, gate: Gate) -> None:
    """S2: the earlier connections wait for answers, so none of them can be closed for the new one."""
    before = connections_ended("too-many-connections")
    with serving(app, max_connections=3) as server:
        port = port_of(server)
        clients = [Raw(port) for _ in range(3)]
        for client in clients:
            client.send(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: gate.held == 3, "all are held")
        for _ in range(50):
            with Raw(port) as client:
                client.send(GET)
                answer = client.read(until_closed=True)
                assert answer.problem() == (503, "too-many-connections")
                assert answer.headers["retry-after"] == "1"
                assert answer.closed
        gate.open.set()
        assert [client.read().status for client in clients] == [200] * 3
        for client in clients:
            client.socket.close()
        eventually(lambda: open_connections() == 0, "all are gone")

    assert connections_ended("too-many-connections") == before + 50


FILLERS = {
    "silent": b"",
    "open heads": b"GET / HTTP/1.1\r\nX: ",
    "idle": GET,
    "answered before the body": b"POST /unread HTTP/1.1\r\nContent-Length: 99\r\n\r\n",
    "refused": b"\0\r\n\r\n",
}


@pytest.mark.parametrize("kind", FILLERS)
def test_connections_that_wait_for_their_clients_make_room_for_new_ones(app: Starlette, kind: str) -> None:
    """S2: the maximum number of idle connections locks out nobody: the one that is idle longest is closed early."""
    long: dict[str, Any] = {
        "first_byte_seconds": 600,
        "head_seconds": 600,
        "keep_alive_seconds": 600,
        "body_seconds": 600,
    }
    with serving(app, max_connections=5, **long) as server:
        port = port_of(server)
        fillers = [Raw(port) for _ in range(5)]
        for filler in fillers:
            filler.send(FILLERS[kind])
        eventually(lambda: len(server.config.connections) == 5, "all places are taken")  # type: ignore[attr-defined]

        def is_served() -> bool:
            with Raw(port) as client:
                return client.ask(GET).status == 200

        eventually(is_served, "a newcomer is served")
        for filler in fillers:
            filler.socket.close()


@pytest.mark.parametrize("kind", ["silent", "open heads"])
def test_a_flood_of_new_connections_locks_nobody_out(app: Starlette, kind: str) -> None:
    """S2: none of them has waited for a second when the next client comes."""
    with serving(app, max_connections=200) as server, contextlib.ExitStack() as flood:
        port = port_of(server)
        for _ in range(40):
            for _ in range(20):
                flood.enter_context(Raw(port)).send(FILLERS[kind])
            with Raw(port) as client:
                assert client.ask(GET).status == 200


def test_clients_that_do_not_read_lock_nobody_out(app: Starlette) -> None:
    """S2, additional case: unsent answers made them not idle, so they kept their places for 15 seconds."""
    with serving(app, max_connections=100, answer_seconds=600) as server, contextlib.ExitStack() as flood:
        port = port_of(server)
        for _ in range(20):
            for _ in range(20):
                flood.enter_context(Raw(port, receive_buffer=4096)).send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
            with Raw(port) as client:
                assert client.ask(GET).status == 200


def test_little_of_an_answer_that_is_not_read_is_held_for_its_client() -> None:
    """S2, additional case: before, the kernel buffered 4 MB for each connection, in the memory of the container."""
    sent = 0

    async def endless(_scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        watched = asyncio.ensure_future(gone())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not watched.done() and sent < LARGE:
            await send({"type": "http.response.body", "body": bytes(10_000), "more_body": True})
            sent += 10_000
            await asyncio.sleep(0)

    with serving(endless, answer_seconds=1) as server, Raw(port_of(server), receive_buffer=4096) as client:
        client.send(GET)
        eventually(lambda: sent > 0, "the answer has begun")
        eventually(lambda: not server.server_state.connections, "the connection is gone")
        assert sent < 1 << 20


def test_each_port_has_connections_of_its_own(app: Starlette, gate: Gate) -> None:
    """S2: Prometheus and probes reach the telemetry port even if the API's port is full."""
    with serving(app, max_connections=1) as server, serving(app, purpose="telemetry") as telemetry:
        with Raw(port_of(server)) as client:
            client.send(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
            eventually(lambda: gate.held == 1, "the only place is taken")
            with Raw(port_of(server)) as other:
                assert other.read().status == 503
            with Raw(port_of(telemetry)) as scrape:
                assert scrape.ask(GET).status == 200
        gate.open.set()


# answers that come before the body


class Sending(threading.Thread):
    """Sends a request while a client reads. `sent`: how many chunks were sent until the end, or until an error."""

    def __init__(self, client: Raw, head: bytes, chunk: bytes, times: int) -> None:
        super().__init__()
        self._client, self._head, self._chunk, self._times = client, head, chunk, times
        self.sent = 0
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            self._client.send(self._head)
            for _ in range(self._times):
                self._client.send(self._chunk)
                self.sent += 1


MEGABYTE = bytes(1 << 20)
FRAMED = b"%x\r\n%s\r\n" % (len(MEGABYTE), MEGABYTE)


@pytest.mark.parametrize("framing", [b"Content-Length: 31457280", b"Transfer-Encoding: chunked"])
def test_413_arrives_at_a_client_that_reads_when_it_has_sent_all(still_app: Starlette, framing: bytes) -> None:
    """N29: nginx is such a client. Before, its connection was reset, it answered 502, and its client tried again."""
    chunk, end = (FRAMED, b"0\r\n\r\n") if b"chunked" in framing else (MEGABYTE, b"")
    head = (
        b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-management-key\r\n"
        b"Content-Type: application/cloudevents-batch+json\r\n" + framing + b"\r\n\r\n"
    )
    with serving(still_app, body_limit_bytes=1024) as server:
        for _ in range(5):
            with Raw(port_of(server)) as client:
                client.send(head)
                for _ in range(30):
                    client.send(chunk)
                client.send(end)
                answer = client.read(until_closed=True)
                assert answer.status == 413
                assert answer.headers["connection"] == "close"
                assert answer.closed


@pytest.mark.parametrize("path", [b"/unread", b"/closed"])
def test_a_body_that_nobody_wants_is_read_up_to_a_bound(app: Starlette, path: bytes) -> None:
    """N29, additional case: before, after any answer but 413 the body was read for as long as the client sent."""
    with serving(app, drained_bytes=4 << 20) as server, Raw(port_of(server)) as client:
        head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        sending = Sending(client, head, FRAMED, 400)
        answer = client.read()
        sending.join()
        eventually(lambda: not server.server_state.connections, "the connection is gone")

    assert sending.sent < 400
    assert answer.status == (404 if path == b"/unread" else 413)


def test_a_connection_goes_on_behind_a_body_that_nobody_wanted(port: int) -> None:
    """N29: this needs a body within the limit, and an answer that does not close the connection."""
    with Raw(port) as client:
        head = b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(MEGABYTE)
        assert client.ask(head + MEGABYTE).status == 404
        assert client.ask(GET).status == 200


def test_nothing_behind_an_answer_that_closes_is_asked(port: int, gate: Gate) -> None:
    """N29: the rest of the body is read, but the request after it is not."""
    with Raw(port) as client:
        client.send(b"POST /closed HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
        assert client.read().status == 413
        client.send(b"body" + b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.closed()

    assert gate.held == 0


# log lines


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
    """Everything that we override or use exists. The tests above check what it does. A changed release fails here."""
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
