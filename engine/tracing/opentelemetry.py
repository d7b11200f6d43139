"""Spans through OpenTelemetry: how they begin and end, and the links of a block. `export` sends them.

Owns: with `export`, every use of OpenTelemetry's packages (the extra `otel`). The SDK's own logger is silent: it logs
each lost span, and may quote a header that is a key. An error of the SDK costs a span: no request and no block fails.
Limits: a block links to `MAX_LINKS` traces.
Source: OpenTelemetry's specification of environment variables and of messaging spans; W3C Trace Context.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from engine import __version__, tracing
from engine.config.grace import SPANS_SECONDS
from engine.errors import ConfigurationError
from engine.tracing import Attributes, RecordHeaders
from engine.tracing.export import ReportingExporter, SpanQueue, report_lost
from engine.tracing.variables import check_variables, is_turned_off, samples_by_parents

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D")

MAX_LINKS = 128
_SERVICE = "meterport"
_TRACEPARENT = "traceparent"
_READ_HEADERS = frozenset({b"traceparent", b"tracestate"})
_PARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.S)
_LAST_FLAG, _SAMPLED_DIGITS = 54, b"13579bdf"  # the last digit of the flags; its lowest bit means that it is recorded
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SERVER_ERROR = 500


def _or(otherwise: D) -> Callable[[Callable[P, T]], Callable[P, T | D]]:
    """Let a function return `otherwise` if OpenTelemetry fails: its errors must not reach a request or a block."""

    def guarding(function: Callable[P, T]) -> Callable[P, T | D]:
        @wraps(function)
        def guarded(*args: P.args, **named: P.kwargs) -> T | D:
            try:
                return function(*args, **named)
            except Exception as error:
                report_lost(type(error).__name__)
                return otherwise

        return guarded

    return guarding


class _Spans(tracing.Spans):
    """The spans of a process whose tracing is on. Thread-safe."""

    def __init__(self, provider: TracerProvider, exporter: ReportingExporter) -> None:
        self._provider = provider
        self._exporter = exporter
        self._tracer = provider.get_tracer(_SERVICE, __version__)
        self._propagator = TraceContextTextMapPropagator()

    def close(self) -> None:
        """Send the spans that are left, but for `SPANS_SECONDS` at most."""
        last = threading.Thread(target=_or(None)(self._provider.shutdown), name="last-spans", daemon=True)
        last.start()
        last.join(SPANS_SECONDS)
        if last.is_alive():
            report_lost("stopped")
            _or(None)(self._exporter.shutdown)()  # ends the pause before the next attempt

    @contextmanager
    def request(self, method: str, scheme: str, headers: Sequence[tuple[bytes, bytes]]) -> Iterator[None]:
        """See `tracing.Spans`."""
        attributes = {"http.request.method": method, "url.scheme": scheme}
        with self._span(method, SpanKind.SERVER, attributes, context=self._caller(headers)):
            yield

    @_or(Context())
    def _caller(self, headers: Sequence[tuple[bytes, bytes]]) -> Context:
        """Return the context that the headers of a request continue: none if they are not valid."""
        given: dict[str, list[str]] = {}
        for name, value in headers:
            if name in _READ_HEADERS:
                given.setdefault(name.decode(), []).append(value.decode("latin-1"))
        one = given if len(given.get(_TRACEPARENT, ())) == 1 else {}  # of two, neither is valid
        return self._propagator.extract(one, Context())

    @_or(None)
    def answered(self, method: str, route: str, status: int) -> None:
        """See `tracing.Spans`."""
        span = trace.get_current_span()
        span.update_name(f"{method} {route}")
        span.set_attributes({"http.route": route, "http.response.status_code": status})
        if status >= _SERVER_ERROR:
            _mark(span, str(status))

    @contextmanager
    def block(self, log: str, headers: Iterable[RecordHeaders | None]) -> Iterator[None]:
        """See `tracing.Spans`."""
        attributes = {"messaging.operation.type": "process", "meterport.log": log}
        with self._span("store block", SpanKind.CONSUMER, attributes, context=Context(), links=_links(headers)):
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

    @contextmanager
    def under(self, parent: object) -> Iterator[None]:
        """See `tracing.Spans`."""
        token = attach(trace.set_span_in_context(parent if isinstance(parent, trace.Span) else trace.INVALID_SPAN))
        try:
            yield
        finally:
            detach(token)

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

    @_or(None)
    def note(self, attributes: Attributes) -> None:
        """See `tracing.Spans`."""
        trace.get_current_span().set_attributes(dict(attributes))

    @_or(None)
    def attempt_failed(self, code: str) -> None:
        """See `tracing.Spans`."""
        trace.get_current_span().add_event("attempt failed", {"error.type": code})

    @_or(())
    def record_headers(self) -> RecordHeaders:
        """See `tracing.Spans`."""
        context = trace.get_current_span().get_span_context()
        if not context.trace_flags.sampled:
            return ()
        return [(_TRACEPARENT, f"00-{context.trace_id:032x}-{context.span_id:016x}-01".encode())]

    @contextmanager
    def _part(self, name: str, kind: SpanKind, attributes: Attributes) -> Iterator[None]:
        if not _is_in_recorded_span():
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
        span = self._begin(name, context, kind, dict(attributes), links)
        try:
            with self.under(span):
                yield
        except BaseException as error:
            _mark(span, type(error).__name__)
            raise
        finally:
            _or(None)(span.end)()

    @_or(trace.INVALID_SPAN)
    def _begin(self, *args: Any) -> trace.Span:
        return self._tracer.start_span(*args)


@_or(False)
def _is_in_recorded_span() -> bool:
    return trace.get_current_span().get_span_context().trace_flags.sampled


@_or(None)
def _mark(span: trace.Span, error_type: str) -> None:
    span.set_attribute("error.type", error_type)
    span.set_status(Status(StatusCode.ERROR))


@_or(())
def _links(headers: Iterable[RecordHeaders | None]) -> Sequence[Link]:
    return [Link(parent) for parent in linked_parents(headers)]


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


@contextmanager
def exporting() -> Iterator[None]:
    """Send the spans of this process while the context lasts, as the OTEL_ variables say.

    Raises: ConfigurationError: a variable is wrong.
    """
    before, spans = tracing.spans, _open()
    tracing.use(spans)
    try:
        yield
    finally:
        tracing.use(before)
        spans.close()


def _open() -> tracing.Spans:
    """Return the spans that the OTEL_ variables ask for. Raises: ConfigurationError."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    if is_turned_off():
        return tracing.Spans()
    check_variables()
    try:
        exporter = ReportingExporter()
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        if samples_by_parents():
            provider.sampler = _LinkedSampler(provider.sampler)
        provider.add_span_processor(SpanQueue(exporter))
    except Exception as error:
        raise ConfigurationError(f"tracing: OpenTelemetry refuses the OTEL_ variables: {error}") from None
    return _Spans(provider, exporter)


def _resource() -> Resource:
    resource = Resource.create({"service.version": __version__})
    named = str(resource.attributes["service.name"])
    return resource.merge(Resource({"service.name": _SERVICE})) if named.startswith("unknown_service") else resource
