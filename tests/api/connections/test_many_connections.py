"""Many connections: their number and the memory of each are limited, and they lock out nobody."""

import asyncio
import contextlib
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from engine.metrics import CONNECTIONS
from tests.api.connections.conftest import GET, LARGE, Gate
from tests.harness.raw_http import Raw, connections_ended, eventually, port_of, serving, value_of


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
