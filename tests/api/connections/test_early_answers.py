"""Answers that come before the body: they arrive at the client, and the rest of the body is read up to a bound."""

import contextlib
import threading

import pytest
from starlette.applications import Starlette

from tests.api.connections.conftest import GET, Gate
from tests.harness.raw_http import Raw, eventually, port_of, serving


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
