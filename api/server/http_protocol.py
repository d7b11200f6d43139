"""HTTP/1.1 on one connection: uvicorn's protocol over httptools, with bounds on all that a client sends.

Owns: the size of a head, of its URL and the number of its fields; trailers, which never become header fields; requests
that wait for the answers to others; and requests for another protocol, which are answered in this one.
httptools has no bound of its own, and copies an unfinished field with every packet: bytes are counted before it.
How long a client may take, and how a connection ends, is in api/server/staged_protocol.py.
Source: RFC 9110 §6.5.1, §7.8; RFC 9112 §2.2, §7.1; docs/contract.md "Connections".
"""

import asyncio
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.server import ServerState

from api.http.hosts import record_target_host
from api.server import refusals
from api.server.refusals import Refusal
from api.server.staged_protocol import DRAINING, REFUSED, HttpConfig, StagedProtocol
from api.server.upgrades import plain_head

MOST_PIPELINED = 64
_END_OF_HEAD = b"\r\n\r\n"


class _Refused(Exception):
    """Ends the parser from within one of its callbacks; `BoundedProtocol._fault` says why."""


class BoundedProtocol(StagedProtocol):
    """One connection."""

    def __init__(
        self,
        config: HttpConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_bytes = 0  # of packets, since the last head was complete
        self._silent = 0  # bytes on the wire since the last of a body's content: extensions of chunks, trailers
        self._fault: Refusal | None = None

    # what comes in

    def data_received(self, data: bytes) -> None:
        if self.phase >= REFUSED or self.pending:
            self.drop(data)
        elif self.in_head:
            self._take_head(data)
        else:
            self._take_body(data)
        self.settle()

    def _take_head(self, data: bytes) -> None:
        self._head_bytes += len(data)
        over = self._head_bytes - self.limits.head_bytes
        if over <= 0 or data.find(_END_OF_HEAD, 0, len(data) - over) >= 0:
            self._feed(data)
            return
        whole = memoryview(data)  # more than a head may be; but the last bytes of one may be in it
        self._feed(whole[:-over])
        if self.phase >= REFUSED or self.pending or self.transport.is_closing():
            return
        if self.in_head and self._head_bytes > self.limits.head_bytes:
            self.refuse(refusals.head_too_large(self.limits.head_bytes))
        else:
            self._feed(whole[-over:])

    def _take_body(self, data: bytes) -> None:
        before = self.content
        if self.phase is DRAINING:
            self.drop(data)
        self._feed(data)
        if self.in_head or self.content != before:
            self._silent = 0
        else:
            self._silent += len(data)
            if self._silent > self.limits.head_bytes:
                self.refuse(refusals.BODY_OVERHEAD)

    def _feed(self, data: bytes | memoryview) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as stop:
                data = self._without_upgrade(data[stop.args[0] :])
            except HttpParserError:
                fault, self._fault = self._fault, None
                if self.ended:
                    self.close()
                else:
                    self.refuse(fault or refusals.MALFORMED)
                return
            else:
                return

    def _without_upgrade(self, rest: bytes | memoryview) -> bytes:
        """Return the request that asks for another protocol without that wish, and what came behind its head."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            self.refuse(refusals.MALFORMED)
            return b""
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return plain_head(method, self.url, version, self.headers) + bytes(rest)

    # the parser's callbacks

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.begun = not self.ended

    def on_url(self, url: bytes) -> None:
        if self.ended:  # behind a request whose answer has closed the connection
            raise _Refused
        self.url += url
        if len(self.url) > self.limits.url_bytes:
            self._stop(refusals.url_too_long(self.limits.url_bytes))

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_head:
            return  # a trailer
        if len(self.headers) >= self.limits.fields:
            self._stop(refusals.too_many_fields(self.limits.fields))
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # it comes once more, without that wish
        if len(self.pipeline) >= MOST_PIPELINED:
            self._stop(refusals.TOO_MANY_PIPELINED)
        record_target_host(self.scope["state"], self.url)
        super().on_headers_complete()
        self.cycle.transport = self.answers
        self.in_head = self.begun = False
        self._head_bytes = self._silent = self.content = 0
        self.receiving.restart()

    def on_body(self, body: bytes) -> None:
        self.content += len(body)
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self.in_head = True
        self.ended = self.half_closed
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def _stop(self, refusal: Refusal) -> None:
        self._fault = refusal
        raise _Refused
