"""A receiver of traces on loopback: it takes what the OTLP/HTTP exporter sends and keeps the spans."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class OtlpReceiver:
    """The spans that were received. `resources`: the attributes of the processes that sent them.

    While `goes_on` is not set, requests are read and not answered. `answer` writes an answer of a test's own.
    """

    answer: Callable[[BaseHTTPRequestHandler], None] | None = None

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, str]] = []
        self.messages: list[str] = []  # everything that was received, as text
        self.requests = 0
        self.goes_on = threading.Event()
        self.goes_on.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator["OtlpReceiver"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.goes_on.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def take(self, body: bytes) -> None:
        message = ExportTraceServiceRequest.FromString(body)
        self.messages.append(str(message))
        for sent in message.resource_spans:
            self.resources.append({each.key: each.value.string_value for each in sent.resource.attributes})
            for scope in sent.scope_spans:
                self.spans.extend(scope.spans)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def children(self, parent: Span) -> list[Span]:
        """Return the spans directly below another, in the order in which they began."""
        found = [span for span in self.spans if span.parent_span_id == parent.span_id]
        return sorted(found, key=lambda span: span.start_time_unix_nano)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver.requests += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.goes_on.wait()
                if receiver.answer:
                    receiver.answer(self)
                    return
                found = self.path == "/v1/traces"
                if found:
                    receiver.take(body)
                self.send_response(200 if found else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler


def attributes(span: Span) -> dict[str, object]:
    """Return the attributes of a span."""
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in span.attributes}
