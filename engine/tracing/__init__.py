"""Traces: what a process tells OpenTelemetry about its requests, appends, blocks and statements.

Owns: `Spans`, the spans that Meterport has, as context managers, and `spans`, those of this process. Where tracing is
off, no method does anything. Where the setting `tracing` is on, `opentelemetry` of this package replaces `spans`; only
it and `export` import OpenTelemetry. Use it as `tracing.spans.step("plan")`, so that the replacement is seen.
No span has a value that a client or a producer sent: no subject, id, token, key or data, and no query string.
Source: docs/operations.md "Traces".
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

Attributes: TypeAlias = Mapping[str, str | int | bool]
RecordHeaders: TypeAlias = Sequence[tuple[str, bytes | None]]
Span: TypeAlias = AbstractContextManager[object]

_NO_SPAN: Span = nullcontext()


class Spans:
    """The spans of a process whose tracing is off: there are none."""

    def request(self, method: str, scheme: str, headers: Sequence[tuple[bytes, bytes]]) -> Span:  # noqa: ARG002
        """Return the span of an HTTP request. It continues the trace that the header `traceparent` names."""
        return _NO_SPAN

    def answered(self, method: str, route: str, status: int) -> None:
        """Name the current span, of a request, after the template of its route, and note the status of the answer."""

    def append(self, topic: str | None, events: int) -> Span:  # noqa: ARG002
        """Return the span of an append to the event log. Args: topic: None: the log is SQLite."""
        return _NO_SPAN

    def record_headers(self) -> RecordHeaders:
        """Return the headers with which a Kafka record carries the current span: none if the span is not recorded."""
        return ()

    def block(self, log: str, headers: Iterable[RecordHeaders | None]) -> Span:  # noqa: ARG002
        """Return the span of one block. It begins a trace, and has links to the spans that sent its records.

        Args: log: the name of the event log. headers: those of each record. They are read only if tracing is on, and
            no further than to the last link that a block may have.
        """
        return _NO_SPAN

    def current(self) -> object:
        """Return the current span, for `under`."""
        return None

    def under(self, parent: object) -> Span:  # noqa: ARG002
        """Return a context whose steps belong to `parent`, a span from `current`, which may have ended."""
        return _NO_SPAN

    def step(self, name: str) -> Span:  # noqa: ARG002
        """Return the span of a step of a request or of a block. Outside of both there is none."""
        return _NO_SPAN

    def statement(self, operation: str) -> Span:  # noqa: ARG002
        """Return the span of a statement to ClickHouse in a request or a block.

        Args: operation: its kind, as in `SELECT`. Its text and its values are not told.
        """
        return _NO_SPAN

    def note(self, attributes: Attributes) -> None:
        """Set attributes of the current span."""

    def attempt_failed(self, code: str) -> None:
        """Note in the current span that an attempt has failed and is repeated. Args: code: that of its error."""

    def close(self) -> None:
        """Send what has ended, for a few seconds at most."""


spans = Spans()


def use(those: Spans) -> None:
    """Make `those` the spans of this process."""
    global spans  # noqa: PLW0603 - spans belong to the process, as its metrics and its log do
    spans = those
