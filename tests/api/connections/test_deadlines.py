"""The time that a client may take to send a request and to read its answer, and how long an idle connection is kept.

The tests wait for results, not for times. Where a deadline is short, the client of the test never tries to keep it.
"""

import contextlib
import time
from typing import Any

import pytest
from starlette.applications import Starlette

from engine.config.server_settings import ServerSettings
from tests.api.connections.conftest import CHUNKED, GET, LARGE
from tests.harness.raw_http import TIMEOUT_SECONDS, Answer, Raw, connections_ended, eventually, port_of, serving


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
