"""Time limits of clients, and how a connection ends: the half of the protocol that does not depend on HTTP syntax.

Owns: the phase of a connection, its deadlines, the answers that the server itself gives, and closing in stages. An
answer that is sent before the whole request is read arrives only if the server first closes its sending half, goes on
reading up to a limit, and then closes the connection. A client that reads nothing would keep even a closed connection
for ever; its connection is aborted.
Source: RFC 9110 §15.5.9, RFC 9112 §9.6; docs/contract.md "Connections".
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from api.server import refusals
from api.server.connections import ROUND_SECONDS, Connections, Phase
from api.server.pace import MIN_BYTES_PER_SECOND, Pace
from api.server.refusals import Refusal, count_end

NEW, HEAD, BODY, ANSWERING, IDLE, DRAINING, REFUSED = tuple(Phase)[
    :7
]  # Local names are faster: each request uses some.
_DRAIN_SECONDS = 30.0
_TURN_AWAY_SECONDS = 2.0
_SEND_BUFFER_BYTES = 128 << 10  # Of kernel memory. Its default would grow to 4 MB for a client that reads nothing.
_FLUSH_SECONDS = 10.0


class HttpConfig(uvicorn.Config):
    """uvicorn's configuration, with the connection table of the port."""

    def __init__(
        self, application: Any, protocol: "type[StagedProtocol]", connections: Connections, **options: Any
    ) -> None:
        super().__init__(application, http=protocol, ws="none", proxy_headers=False, **options)
        self.connections = connections


class _Flow(FlowControl):
    """Flow control that resumes reading only if no request or refusal of the connection waits for an earlier answer."""

    def __init__(self, transport: asyncio.Transport, has_queued: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._has_queued = has_queued

    def resume_reading(self) -> None:
        if self.read_paused and not self._has_queued():
            super().resume_reading()


class _ResponseTransport:
    """The transport that a request's cycle gets: its `close` lets the protocol decide how to close the connection."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write, self.is_closing, self.close = transport.write, transport.is_closing, close


class StagedProtocol(HttpToolsProtocol):
    """One connection. A subclass sets `in_head`, `head_begun`, `body_received` and `last_request_read` while it parses.

    in_head: whether a head, or the beginning of one, comes next; False while a body is being received.
    head_begun: whether any byte of a head has been received.
    body_received: bytes of the current body that have been received.
    last_request_read: whether the last request of a half-closed connection is complete.
    pending_refusal: a refusal that is sent after the answers to earlier requests.
    """

    def __init__(
        self,
        config: HttpConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._connections = config.connections
        self.limits = config.connections.limits
        self.phase, self.since = Phase.NEW, 0.0
        self.in_head = True
        self.head_begun = False
        self.body_received = 0
        self.last_request_read = False
        self.half_closed = False
        self.pending_refusal: Refusal | None = None
        self.receiving, self._sending = Pace(), Pace()
        self.response_transport: Any = None
        self._answered_any = False
        self._dropped_bytes = 0

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if connected := transport.get_extra_info("socket"):
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self.flow = _Flow(transport, self._has_queued)
        self.response_transport = _ResponseTransport(transport, self._close_after_answer)
        if not self._connections.admit(self, self.loop):
            self._send_refusal(refusals.TOO_MANY_CONNECTIONS)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.pipeline.clear()
        self._connections.leave(self)

    def shutdown(self) -> None:
        if self._is_answering():
            super().shutdown()
        else:
            self.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._sending.restart()
        self._connections.block(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._connections.unblock(self)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _has_queued(self) -> bool:
        return bool(self.pipeline) or self.pending_refusal is not None

    def update_phase(self) -> None:
        """Record the phase that the connection is in now."""
        last, cycle = self.phase, self.cycle
        if last >= REFUSED:
            return
        if cycle is not None and not cycle.response_complete:
            phase = ANSWERING if self.in_head else BODY
        elif not self.in_head:
            phase = DRAINING
        elif self.head_begun:
            phase = HEAD
        else:
            phase = IDLE if self._answered_any else NEW
        if phase is not last:
            if phase is IDLE:  # Free the answered request, which may be large.
                self.cycle = self.scope = self.headers = None  # type: ignore[assignment]
            elif phase is DRAINING:
                self._dropped_bytes = 0
                self.receiving.restart()
            self._connections.enter(self, phase)

    def drop(self, data: bytes) -> None:
        """Count bytes that are read only to be dropped; close the connection if there are too many."""
        self._dropped_bytes += len(data)
        if self._dropped_bytes > self.limits.drained_bytes:
            self.close()

    # Answers and closing

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._answered_any = True
        if self.transport.is_closing():
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self.pending_refusal:
            refusal, self.pending_refusal = self.pending_refusal, None
            self._send_refusal(refusal)
        self.flow.resume_reading()
        self.update_phase()

    def refuse(self, refusal: Refusal) -> None:
        """Answer an invalid, too large or overdue request, after the answers to earlier requests."""
        if self.transport.is_closing() or self.phase >= Phase.REFUSED or self.pending_refusal:
            return
        count_end(refusal.reason)
        earlier = self._is_answering()
        if not self.in_head:  # The request has a cycle already.
            cycle = self.cycle
            if cycle.response_started:
                self.close()
                return
            earlier = bool(self.pipeline)
            if earlier:
                self.pipeline.popleft()
            cycle.disconnected = True
            cycle.message_event.set()
        if earlier:
            self.pending_refusal = refusal
            self.flow.pause_reading()
        else:
            self._send_refusal(refusal)

    def _send_refusal(self, refusal: Refusal) -> None:
        turned_away = self.phase is Phase.TURNED_AWAY
        if turned_away:
            count_end(refusal.reason)
        else:
            self._connections.enter(self, Phase.REFUSED)
        has_body = turned_away or self.parser.get_method() != b"HEAD"
        self.transport.write(refusals.response_bytes(refusal, self.server_state.default_headers, has_body))
        self._half_close()
        self.flow.resume_reading()

    def _close_after_answer(self) -> None:
        """Close the connection because an answer requires it, or because an answer could not be completed."""
        if self.in_head or self.pipeline or not self.cycle.response_complete:
            self.close()
        else:
            # The body is still being received: if the connection were closed now, the client could lose the answer.
            self._half_close()

    def _half_close(self) -> None:
        self.half_closed = True
        if not self.transport.is_closing():
            self.transport.write_eof()

    def close(self) -> None:
        """Close the connection once the client has read everything that was written."""
        self.transport.close()
        if self.phase is not Phase.TURNED_AWAY:
            self._connections.enter(self, Phase.CLOSING)

    def abort(self) -> None:
        """See `Connection.abort`."""
        self.transport.abort()

    # Deadlines

    def check(self, now: float) -> None:
        """See `Connection.check`."""
        match self.phase:
            case Phase.NEW:
                count_end("no-request")
                self.close()
            case Phase.HEAD:
                self.refuse(refusals.SLOW_HEAD)
            case Phase.IDLE:
                self.close()
            case Phase.BODY:
                self._check_body(now)
            case Phase.DRAINING | Phase.REFUSED:
                stalled = self.receiving.stalled_seconds(self._dropped_bytes, now)
                if now - self.since > _DRAIN_SECONDS or stalled > self.limits.body_seconds:
                    self.close()
            case Phase.TURNED_AWAY:
                if now - self.since > _TURN_AWAY_SECONDS:
                    self.transport.abort()
            case _:
                if now - self.since > _FLUSH_SECONDS:
                    self.transport.abort()

    def _check_body(self, now: float) -> None:
        seconds = self.limits.body_seconds
        if self.flow.read_paused or self.cycle.waiting_for_100_continue:  # The server is to act next, not the client.
            self.since += ROUND_SECONDS
            self.receiving.restart()
        elif (
            self.receiving.stalled_seconds(self.body_received, now) > seconds
            or now - self.since > seconds + ROUND_SECONDS + self.body_received / MIN_BYTES_PER_SECOND
        ):
            self.refuse(refusals.SLOW_BODY)

    def check_answer_read(self, now: float) -> None:
        """See `Connection.check_answer_read`."""
        seconds = self.limits.answer_seconds
        unread = self.transport.get_write_buffer_size()
        if self._sending.stalled_seconds(-unread, now, least=int(MIN_BYTES_PER_SECOND * seconds)) > seconds:
            count_end("answer-not-read")
            self.transport.abort()
