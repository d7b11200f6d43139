"""Spans through OpenTelemetry: how they begin and end, the links of a block, and their export over OTLP/HTTP.

Owns: every use of OpenTelemetry's packages (the extra `otel`). The SDK's own logger is silent: it logs each lost span,
and may quote a header that is a key.
Limits: the SDK's queue holds OTEL_BSP_MAX_QUEUE_SIZE spans (2,048); what does not fit is lost, and nothing waits for
it. A block links to `MAX_LINKS` traces.
Source: OpenTelemetry's specification of environment variables and of messaging spans; W3C Trace Context.
"""

import logging
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from engine import __version__, tracing
from engine.config.grace import SPANS_SECONDS
from engine.errors import ConfigurationError
from engine.logging_setup import OncePerMinute
from engine.tracing import Attributes, RecordHeaders
from engine.tracing.variables import check_variables, export_seconds, is_turned_off, samples_by_parents

logger = logging.getLogger(__name__)
logger.addFilter(OncePerMinute())

MAX_LINKS = 128
_SERVICE = "meterport"
_TRACEPARENT = "traceparent"
_PARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.S)
_LAST_FLAG, _SAMPLED_DIGITS = 54, b"13579bdf"  # the last digit of the flags; its lowest bit means that it is recorded
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SERVER_ERROR = 500


class _Spans(tracing.Spans):
    """The spans of a process whose tracing is on. Thread-safe."""

    def __init__(self, provider: TracerProvider, exporter: SpanExporter) -> None:
        self._provider = provider
        self._exporter = exporter
        self._tracer = provider.get_tracer(_SERVICE, __version__)
        self._propagator = TraceContextTextMapPropagator()

    def close(self) -> None:
        """Send the spans that are left, but for `SPANS_SECONDS` at most."""
        last = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(SPANS_SECONDS)
        if last.is_alive():
            self._exporter.shutdown()  # ends the pause before the next attempt

    @contextmanager
    def request(self, method: str, scheme: str, headers: Sequence[tuple[bytes, bytes]]) -> Iterator[None]:
        """See `tracing.Spans`."""
        given: dict[str, list[str]] = {}
        for name, value in headers:
            given.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        one = given if len(given.get(_TRACEPARENT, ())) == 1 else {}  # of two, neither is valid
        attributes = {"http.request.method": method, "url.scheme": scheme}
        parent = self._propagator.extract(one, Context())
        with self._span(method, SpanKind.SERVER, attributes, context=parent):
            yield

    def answered(self, method: str, route: str, status: int) -> None:
        """See `tracing.Spans`."""
        span = trace.get_current_span()
        span.update_name(f"{method} {route}")
        span.set_attributes({"http.route": route, "http.response.status_code": status})
        if status >= _SERVER_ERROR:
            span.set_attribute("error.type", str(status))
            span.set_status(Status(StatusCode.ERROR))

    @contextmanager
    def block(self, log: str, headers: Iterable[RecordHeaders | None]) -> Iterator[None]:
        """See `tracing.Spans`."""
        attributes = {"messaging.operation.type": "process", "meterport.log": log}
        links = [Link(parent) for parent in linked_parents(headers)]
        with self._span("store block", SpanKind.CONSUMER, attributes, context=Context(), links=links):
            yield

    @contextmanager
    def append(self, topic: str | None, events: int) -> Iterator[None]:
        """See `tracing.Spans`."""
        attributes: dict[str, str | int] = {"messaging.operation.type": "send", "messaging.batch.message_count": events}
        if topic is None:
            name, attributes["messaging.system"] = "append", "sqlite"
        else:
            name, attributes["messaging.system"] = f"send {topic}", "kafka"
            attributes["messaging.destination.name"] = topic
        with self._part(name, SpanKind.PRODUCER, attributes):
            yield

    def current(self) -> trace.Span:
        """See `tracing.Spans`."""
        return trace.get_current_span()

    def under(self, parent: object) -> tracing.Span:
        """See `tracing.Spans`."""
        span = parent if isinstance(parent, trace.Span) else trace.INVALID_SPAN
        return trace.use_span(span, record_exception=False, set_status_on_exception=False)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """See `tracing.Spans`."""
        with self._part(name, SpanKind.INTERNAL, {}):
            yield

    @contextmanager
    def statement(self, operation: str) -> Iterator[None]:
        """See `tracing.Spans`."""
        with self._part(operation, SpanKind.CLIENT, {"db.system.name": "clickhouse", "db.operation.name": operation}):
            yield

    def note(self, attributes: Attributes) -> None:
        """See `tracing.Spans`."""
        trace.get_current_span().set_attributes(dict(attributes))

    def attempt_failed(self, code: str) -> None:
        """See `tracing.Spans`."""
        trace.get_current_span().add_event("attempt failed", {"error.type": code})

    def record_headers(self) -> RecordHeaders:
        """See `tracing.Spans`."""
        context = trace.get_current_span().get_span_context()
        if not context.trace_flags.sampled:
            return ()
        return [(_TRACEPARENT, f"00-{context.trace_id:032x}-{context.span_id:016x}-01".encode())]

    @contextmanager
    def _part(self, name: str, kind: SpanKind, attributes: Attributes) -> Iterator[None]:
        if not trace.get_current_span().get_span_context().trace_flags.sampled:
            yield
            return
        with self._span(name, kind, attributes):
            yield

    @contextmanager
    def _span(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        context: Context | None = None,
        links: Sequence[Link] = (),
    ) -> Iterator[None]:
        """Begin and end a span. Of an exception it gets the class and not the message, which may quote an event."""
        with self._tracer.start_as_current_span(
            name,
            context,
            kind,
            dict(attributes),
            links,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
                raise


def linked_parents(headers: Iterable[RecordHeaders | None]) -> Iterator[SpanContext]:
    """Yield the recorded spans that sent these records, each once, at most `MAX_LINKS`. Other headers are ignored."""
    found: set[bytes] = set()
    for of_record in headers:
        for name, value in of_record or ():
            if name != _TRACEPARENT or value is None or not _may_be_sampled(value) or value in found:
                continue
            parent = _parse(value)
            if parent is not None:
                yield parent
                found.add(value)
                if len(found) == MAX_LINKS:
                    return


def _may_be_sampled(traceparent: bytes) -> bool:
    """Return whether the header has the flag of a recorded span; most have not, and are not parsed."""
    return len(traceparent) > _LAST_FLAG and traceparent[_LAST_FLAG] in _SAMPLED_DIGITS


def _parse(traceparent: bytes) -> SpanContext | None:
    """Return the recorded span that a header names; None if the header is not valid."""
    match = _PARENT.fullmatch(traceparent)
    if match is None or (match[1] == b"00" and match[4]):
        return None
    return SpanContext(int(match[2], 16), int(match[3], 16), is_remote=True, trace_flags=_SAMPLED)


class _LinkedSampler(Sampler):
    """Records each block that has a link; a sampler by parents decides about all other spans.

    Otherwise a share of one percent would record a request and its block together once in ten thousand.
    """

    def __init__(self, by_parents: Sampler) -> None:
        self._by_parents = by_parents

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """See `Sampler.should_sample`."""
        if links:
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
        return self._by_parents.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """See `Sampler.get_description`."""
        return f"Linked{{{self._by_parents.get_description()}}}"


class _Session(requests.Session):
    """Remembers how the last request failed: the SDK logs it in many words."""

    failure = ""

    def request(self, *args: Any, **named: Any) -> requests.Response:
        """See `requests.Session.request`."""
        try:
            response = super().request(*args, **named)
        except Exception as error:
            self.failure = type(error).__name__
            raise
        self.failure = f"HTTP {response.status_code}"
        return response


class _ReportingExporter(SpanExporter):
    """Sends spans to the OTLP endpoint, and logs once a minute why it does not take them."""

    def __init__(self) -> None:
        self._session = _Session()
        self._exporter = OTLPSpanExporter(session=self._session, timeout=export_seconds())

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See `SpanExporter.export`."""
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            logger.warning("spans_lost reason=%s: the OTLP endpoint does not take them", self._session.failure)
        return result

    def shutdown(self) -> None:
        """See `SpanExporter.shutdown`."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


@contextmanager
def exporting() -> Iterator[None]:
    """Send the spans of this process while the context lasts, as the OTEL_ variables say.

    Raises: ConfigurationError: a variable is wrong.
    """
    spans = _open()
    tracing.use(spans)
    try:
        yield
    finally:
        tracing.use(tracing.Spans())
        spans.close()


def _open() -> tracing.Spans:
    """Return the spans that the OTEL_ variables ask for. Raises: ConfigurationError."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    if is_turned_off():
        return tracing.Spans()
    check_variables()
    try:
        exporter = _ReportingExporter()
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        if samples_by_parents():
            provider.sampler = _LinkedSampler(provider.sampler)
        provider.add_span_processor(BatchSpanProcessor(exporter))
    except (ValueError, TypeError, OSError) as error:
        raise ConfigurationError(f"tracing: OpenTelemetry refuses the OTEL_ variables: {error}") from None
    return _Spans(provider, exporter)


def _resource() -> Resource:
    resource = Resource.create({"service.version": __version__})
    named = str(resource.attributes["service.name"])
    return resource.merge(Resource({"service.name": _SERVICE})) if named.startswith("unknown_service") else resource
