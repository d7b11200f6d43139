"""How long a client may take, and how a connection ends: the half of our protocol that knows no HTTP syntax.

Owns: the phase of a connection, its deadlines, the answers of the server itself, and closing in stages: an answer that
comes before its request is read arrives only if the connection is half closed, read on up to a bound, and then closed.
A client that reads nothing would keep a closed connection for ever, too: it is aborted.
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

from api import refusals
from api.connections import ROUND_SECONDS, Connections, Phase
from api.pace import BYTES_A_SECOND, Pace
from api.refusals import Refusal, note

NEW, HEAD, BODY, ANSWERING, IDLE, DRAINING, REFUSED = tuple(Phase)[:7]  # to be at hand: each request passes some
_DRAIN_SECONDS = 30.0
_TURN_AWAY_SECONDS = 2.0
_SEND_BUFFER_BYTES = 128 << 10  # of the kernel's memory; by itself it gives a client that reads nothing 4 MB
_FLUSH_SECONDS = 10.0


class HttpConfig(uvicorn.Config):
    """uvicorn's configuration, with the connections of the port."""

    def __init__(
        self, application: Any, protocol: "type[StagedProtocol]", connections: Connections, **options: Any
    ) -> None:
        super().__init__(application, http=protocol, ws="none", proxy_headers=False, **options)
        self.connections = connections


class _Flow(FlowControl):
    """Reads on only where no request of the connection waits for the answer to another."""

    def __init__(self, transport: asyncio.Transport, holds_back: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._holds_back = holds_back

    def resume_reading(self) -> None:
        if self.read_paused and not self._holds_back():
            super().resume_reading()


class _Answers:
    """The transport as a request's cycle sees it: to close it after an answer is for the protocol to do."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write, self.is_closing, self.close = transport.write, transport.is_closing, close


class StagedProtocol(HttpToolsProtocol):
    """One connection. A subclass sets what the parser has seen: `in_head`, `begun`, `content`, `ended`."""

    def __init__(
        self,
        config: HttpConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._table = config.connections
        self.limits = config.connections.limits
        self.phase, self.since = Phase.NEW, 0.0
        self.in_head = True  # or before it: no body is under way
        self.begun = False  # whether there is a byte of a head
        self.content = 0  # bytes of the body under way that are there
        self.ended = False  # whether the last request of a connection that is half closed is there
        self.half_closed = False
        self.pending: Refusal | None = None  # to be answered after the requests before it
        self.receiving, self._sending = Pace(), Pace()
        self.answers: Any = None
        self._served = False
        self._dropped = 0

    # the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if connected := transport.get_extra_info("socket"):
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self.flow = _Flow(transport, self._holds_back)
        self.answers = _Answers(transport, self._close_after_answer)
        if not self._table.admit(self, self.loop):
            self._say(refusals.TOO_MANY_CONNECTIONS)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.pipeline.clear()
        self._table.leave(self)

    def shutdown(self) -> None:
        if self._busy():
            super().shutdown()
        else:
            self.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._sending.restart()
        self._table.block(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._table.unblock(self)

    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _holds_back(self) -> bool:
        return bool(self.pipeline) or self.pending is not None

    def settle(self) -> None:
        """Note what the connection waits for now."""
        last, cycle = self.phase, self.cycle
        if last >= REFUSED:
            return
        if cycle is not None and not cycle.response_complete:
            phase = ANSWERING if self.in_head else BODY
        elif not self.in_head:
            phase = DRAINING
        elif self.begun:
            phase = HEAD
        else:
            phase = IDLE if self._served else NEW
        if phase is not last:
            if phase is IDLE:  # keep nothing of the request that was answered, however large it was
                self.cycle = self.scope = self.headers = None  # type: ignore[assignment]
            elif phase is DRAINING:
                self._dropped = 0
                self.receiving.restart()
            self._table.enter(self, phase)

    def drop(self, data: bytes) -> None:
        """Count bytes nobody wants; too many end the connection."""
        self._dropped += len(data)
        if self._dropped > self.limits.drained_bytes:
            self.close()

    # answers, and the end

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._served = True
        if self.transport.is_closing():
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self.pending:
            refusal, self.pending = self.pending, None
            self._say(refusal)
        self.flow.resume_reading()
        self.settle()

    def refuse(self, refusal: Refusal) -> None:
        """Answer what cannot be a request, or does not arrive; after the answers to the requests before it."""
        if self.transport.is_closing() or self.phase >= Phase.REFUSED or self.pending:
            return
        note(refusal.reason)
        earlier = self._busy()
        if not self.in_head:  # the request has a cycle already
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
            self.pending = refusal
            self.flow.pause_reading()
        else:
            self._say(refusal)

    def _say(self, refusal: Refusal) -> None:
        turned_away = self.phase is Phase.TURNED_AWAY
        if turned_away:
            note(refusal.reason)
        else:
            self._table.enter(self, Phase.REFUSED)
        has_body = turned_away or self.parser.get_method() != b"HEAD"
        self.transport.write(refusals.answer(refusal, self.server_state.default_headers, has_body))
        self._half_close()
        self.flow.resume_reading()

    def _close_after_answer(self) -> None:
        """Close because a request's answer says so, or could not be finished."""
        if self.in_head or self.pipeline or not self.cycle.response_complete:
            self.close()
        else:
            self._half_close()  # the body is under way: closed now, the answer would be lost with what nobody reads

    def _half_close(self) -> None:
        self.half_closed = True
        if not self.transport.is_closing():
            self.transport.write_eof()

    def close(self) -> None:
        """Close when all that was written is read."""
        self.transport.close()
        if self.phase is not Phase.TURNED_AWAY:
            self._table.enter(self, Phase.CLOSING)

    def give_way(self) -> None:
        """See `Connection.give_way`."""
        self.transport.abort()

    # deadlines

    def check(self, now: float) -> None:
        """See `Connection.check`."""
        match self.phase:
            case Phase.NEW:
                note("no-request")
                self.close()
            case Phase.HEAD:
                self.refuse(refusals.SLOW_HEAD)
            case Phase.IDLE:
                self.close()
            case Phase.BODY:
                self._check_body(now)
            case Phase.DRAINING | Phase.REFUSED:
                still = self.receiving.still(self._dropped, now)
                if now - self.since > _DRAIN_SECONDS or still > self.limits.body_seconds:
                    self.close()
            case Phase.TURNED_AWAY:
                if now - self.since > _TURN_AWAY_SECONDS:
                    self.transport.abort()
            case _:
                if now - self.since > _FLUSH_SECONDS:
                    self.transport.abort()

    def _check_body(self, now: float) -> None:
        seconds = self.limits.body_seconds
        if self.flow.read_paused or self.cycle.waiting_for_100_continue:  # it is ours to go on
            self.since += ROUND_SECONDS
            self.receiving.restart()
        elif (
            self.receiving.still(self.content, now) > seconds
            or now - self.since > seconds + ROUND_SECONDS + self.content / BYTES_A_SECOND
        ):
            self.refuse(refusals.SLOW_BODY)

    def check_writing(self, now: float) -> None:
        """See `Connection.check_writing`."""
        seconds = self.limits.answer_seconds
        unread = self.transport.get_write_buffer_size()
        if self._sending.still(-unread, now, least=int(BYTES_A_SECOND * seconds)) > seconds:
            note("answer-not-read")
            self.transport.abort()
