"""The export of spans over OTLP/HTTP: what waits for it, and what the log says about spans that are lost.

Limits: `queue_size` spans wait (2,048); when they are so many, the oldest is lost for each further one, and nothing
waits for it. Of an answer `_MAX_ANSWER_BYTES` are read.
Source: OpenTelemetry's specification of OTLP/HTTP: an answer outside 200 to 299 means that nothing was taken.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from engine.logging_setup import OncePerMinute
from engine.tracing.variables import export_seconds, queue_size

logger = logging.getLogger(__name__)
logger.addFilter(OncePerMinute())

_MAX_ANSWER_BYTES = 65_536


def report_lost(reason: str) -> None:
    """Log that spans are lost, once a minute for each reason."""
    logger.warning("spans_lost reason=%s: nothing else is lost", reason)


class _Session(requests.Session):
    """Remembers how the last request failed: the SDK logs it in many words."""

    failure = ""

    def request(self, *args: Any, **named: Any) -> requests.Response:
        """See `requests.Session.request`. The body is not kept: an endpoint may send one without end."""
        try:
            response = super().request(*args, **{**named, "stream": True, "verify": self.verify})
            with response:
                self.failure = _failure(response)
        except Exception as error:
            self.failure = type(error).__name__
            raise
        return response


def _failure(response: requests.Response) -> str:
    body = response.raw.read(_MAX_ANSWER_BYTES, decode_content=True)
    if not 200 <= response.status_code < 300:
        return f"HTTP {response.status_code}"
    try:
        return "rejected" if ExportTraceServiceResponse.FromString(body).partial_success.rejected_spans else ""
    except Exception:  # not a message of OTLP, which only says more
        return ""


class ReportingExporter(SpanExporter):
    """Sends spans to the OTLP endpoint, and logs why it does not take them."""

    def __init__(self) -> None:
        self._session = _Session()
        self._exporter = OTLPSpanExporter(session=self._session, timeout=export_seconds())
        self._waiting, self._lock = 0, threading.Lock()

    def wait(self, most: int) -> None:
        """Count a span that waits to be exported. Where `most` already do, the SDK drops one."""
        with self._lock:
            is_full = self._waiting >= most
            self._waiting += not is_full
        if is_full:
            report_lost("queue-full")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See `SpanExporter.export`."""
        with self._lock:
            self._waiting = max(0, self._waiting - len(spans))
        self._session.failure = "not-encoded"  # unless there is a request
        try:
            result = self._exporter.export(spans)
        except Exception as error:
            self._session.failure = type(error).__name__
            result = SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS and not self._session.failure:
            return result
        report_lost(self._session.failure)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """See `SpanExporter.shutdown`."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


class SpanQueue(BatchSpanProcessor):
    """The spans that wait to be sent. Those that do not fit are reported: the SDK loses them silently."""

    def __init__(self, exporter: ReportingExporter) -> None:
        self._reporting, self._most = exporter, queue_size()
        super().__init__(exporter, max_queue_size=self._most)

    def on_end(self, span: ReadableSpan) -> None:
        """See `SpanProcessor.on_end`."""
        if span.context is not None and span.context.trace_flags.sampled:
            self._reporting.wait(self._most)
        super().on_end(span)
