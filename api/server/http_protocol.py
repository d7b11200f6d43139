"""HTTP/1.1 on one connection: uvicorn's protocol over httptools, with limits on everything that a client sends.

Owns: the limits on the size of a head, on its URL and on the number of its fields; trailers, which never become header
fields; the limit on pipelined requests; and requests to upgrade to another protocol, which are answered in HTTP/1.1.
httptools has no limits, and copies an incomplete header field again with every packet. Therefore bytes are counted
before they reach httptools.
The time limits, and how a connection ends, are in api/server/staged_protocol.py.
Source: RFC 9110 §6.5.1, §7.8; RFC 9112 §2.2, §7.1; docs/contract.md "Connections".
"""

import asyncio
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.server import ServerState

from api.http.keyless_access import record_target_host
from api.server import refusals
from api.server.refusals import Refusal
from api.server.staged_protocol import DRAINING, REFUSED, HttpConfig, StagedProtocol
from api.server.upgrades import plain_head

MAX_PIPELINED = 64
_END_OF_HEAD = b"\r\n\r\n"


class _StopParsing(Exception):
    """Raised in a callback of the parser to stop it; `BoundedProtocol._refusal` holds the reason."""


class BoundedProtocol(StagedProtocol):
    """One connection, with limits on what its client sends."""

    def __init__(
        self,
        config: HttpConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_received = 0  # bytes received since the last head was complete
        self._overhead_bytes = 0  # bytes received since the last content of a body: chunk extensions, trailers
        self._refusal: Refusal | None = None

    # Receiving

    def data_received(self, data: bytes) -> None:
        if self.phase >= REFUSED or self.pending_refusal:
            self.drop(data)
        elif self.in_head:
            self._take_head(data)
        else:
            self._take_body(data)
        self.update_phase()

    def _take_head(self, data: bytes) -> None:
        self._head_received += len(data)
        over = self._head_received - self.limits.head_bytes
        if over <= 0 or data.find(_END_OF_HEAD, 0, len(data) - over) >= 0:
            self._feed(data)
            return
        # This is more than the limit. Parse up to the limit first: the head may end there.
        whole = memoryview(data)
        self._feed(whole[:-over])
        if self.phase >= REFUSED or self.pending_refusal or self.transport.is_closing():
            return
        if self.in_head and self._head_received > self.limits.head_bytes:
            self.refuse(refusals.head_too_large(self.limits.head_bytes))
        else:
            self._feed(whole[-over:])

    def _take_body(self, data: bytes) -> None:
        before = self.body_received
        if self.phase is DRAINING:
            self.drop(data)
        self._feed(data)
        if self.in_head or self.body_received != before:
            self._overhead_bytes = 0
        else:
            self._overhead_bytes += len(data)
            if self._overhead_bytes > self.limits.head_bytes:
                self.refuse(refusals.BODY_OVERHEAD)

    def _feed(self, data: bytes | memoryview) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as stop:
                data = self._without_upgrade(data[stop.args[0] :])
            except HttpParserError:
                refusal, self._refusal = self._refusal, None
                if self.last_request_read:
                    self.close()
                else:
                    self.refuse(refusal or refusals.MALFORMED)
                return
            else:
                return

    def _without_upgrade(self, rest: bytes | memoryview) -> bytes:
        """Return a request without its fields that ask for another protocol, followed by `rest`, what came after it."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            self.refuse(refusals.MALFORMED)
            return b""
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return plain_head(method, self.url, version, self.headers) + bytes(rest)

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.head_begun = not self.last_request_read

    def on_url(self, url: bytes) -> None:
        if self.last_request_read:  # This follows a request whose answer has closed the connection.
            raise _StopParsing
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
            return  # The parser gets this request again, without the upgrade fields.
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop(refusals.TOO_MANY_PIPELINED)
        record_target_host(self.scope["state"], self.url)
        super().on_headers_complete()
        self.cycle.transport = self.response_transport
        self.in_head = self.head_begun = False
        self._head_received = self._overhead_bytes = self.body_received = 0
        self.receiving.restart()

    def on_body(self, body: bytes) -> None:
        self.body_received += len(body)
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
        self.last_request_read = self.half_closed
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def _stop(self, refusal: Refusal) -> None:
        self._refusal = refusal
        raise _StopParsing
