"""What the log says about an OTLP endpoint that does not take spans, and that its answers cost nothing but spans."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import Span, Tracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from engine import tracing
from engine.tracing import export
from engine.tracing.opentelemetry import exporting
from tests.harness.otlp_receiver import OtlpReceiver
from tests.harness.topics import wait_for


def _fails(*_: Any, **__: Any) -> Any:
    raise RuntimeError("of the SDK")


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[OtlpReceiver]:
    monkeypatch.setattr(export.logger, "filters", [])  # otherwise a line of another test hides one of this test
    caplog.set_level(logging.WARNING)
    with OtlpReceiver().running() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "500")  # a second attempt would come later
        yield running


def _status(code: int, body: bytes = b"", headers: Mapping[str, str] = {}) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def _closes(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def _closes_half_way(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    handler.close_connection = True


REJECTED = ExportTraceServiceResponse(partial_success=ExportTracePartialSuccess(rejected_spans=1)).SerializeToString()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_status(301, headers={"Location": "/v1/traces"}), "HTTP 301"),
        (_status(304), "HTTP 304"),
        (_status(308, headers={"Location": "http://127.0.0.1:9/v1/traces"}), "HTTP 308"),
        (_status(400, b"secret"), "HTTP 400"),
        (_status(429, headers={"Retry-After": "9" * 30}), "HTTP 429"),
        (_status(429, headers={"Retry-After": "-1, nan"}), "HTTP 429"),
        (_status(500), "HTTP 500"),
        (_status(503), "HTTP 503"),
        (_status(200, REJECTED), "rejected"),
        (_closes, "ConnectionError"),
        (_closes_half_way, "ProtocolError"),
    ],
)
def test_each_answer_that_loses_spans_is_reported(
    answer: Callable[[BaseHTTPRequestHandler], None],
    reason: str,
    receiver: OtlpReceiver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver.answer = answer
    with exporting(), tracing.spans.block("log", []):
        pass

    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [f"spans_lost reason={reason}"]


@pytest.mark.parametrize("body", [b"", b"<html>taken</html>", ExportTraceServiceResponse().SerializeToString()])
def test_an_answer_that_takes_spans_is_not_reported(
    body: bytes, receiver: OtlpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = _status(200, body)
    with exporting(), tracing.spans.block("log", []):
        pass

    assert receiver.requests == 1
    assert caplog.records == []


def test_an_answer_without_end_is_not_read_to_its_end(receiver: OtlpReceiver) -> None:
    ended: list[OSError] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        try:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                handler.wfile.write(b"x" * 65_536)
        except OSError as error:
            ended.append(error)

    receiver.answer = answer
    with exporting():
        with tracing.spans.block("log", []):
            pass
        wait_for(lambda: len(ended) == 1)


def test_a_queue_that_is_full_is_reported(
    receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An endpoint that is slow takes every batch that it gets: no export fails."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0")
    receiver.goes_on.clear()
    with exporting():
        for wave, size in enumerate((1, 4)):
            for _ in range(size):
                with tracing.spans.block("log", []):
                    pass
            wait_for(lambda: receiver.requests == 1)
            assert caplog.records == [], wave
        with tracing.spans.block("log", []):
            pass
        receiver.goes_on.set()

    assert [record.getMessage() for record in caplog.records] == ["spans_lost reason=queue-full: nothing else is lost"]
    assert len(receiver.spans) == 5


@pytest.mark.usefixtures("receiver")
def test_what_cannot_be_encoded_is_reported(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(trace_exporter, "encode_spans", _fails)
    with exporting(), tracing.spans.block("log", []):
        pass

    assert [record.getMessage() for record in caplog.records] == ["spans_lost reason=not-encoded: nothing else is lost"]


def test_spans_that_the_end_does_not_wait_for_are_reported(
    receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("engine.tracing.opentelemetry.SPANS_SECONDS", 0.1)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0")
    receiver.goes_on.clear()
    with exporting(), tracing.spans.block("log", []):
        pass
    [sending] = [thread for thread in threading.enumerate() if thread.name == "last-spans"]
    receiver.goes_on.set()
    sending.join()

    assert [record.getMessage() for record in caplog.records] == ["spans_lost reason=stopped: nothing else is lost"]


def test_the_certificates_of_the_variable_are_used_and_not_those_of_requests(
    receiver: OtlpReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from certifi import where  # noqa: PLC0415

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url.replace("http:", "https:"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", where())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "absent.pem"))
    with exporting(), tracing.spans.block("log", []):
        pass

    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["spans_lost reason=SSLError"]


@pytest.mark.usefixtures("receiver")
@pytest.mark.parametrize(
    ("of", "method"),
    [
        (Tracer, "start_span"),
        (Span, "set_attribute"),
        (Span, "set_attributes"),
        (Span, "set_status"),
        (Span, "update_name"),
        (Span, "add_event"),
        (Span, "get_span_context"),
        (Span, "end"),
        (export.SpanQueue, "on_end"),
        (BatchSpanProcessor, "shutdown"),
        (trace_exporter.OTLPSpanExporter, "export"),
        (trace_exporter.OTLPSpanExporter, "shutdown"),
        (TraceContextTextMapPropagator, "extract"),
    ],
)
def test_an_error_of_the_sdk_reaches_neither_a_request_nor_a_block(
    of: type, method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done, works = [], getattr(of, method)

    def fails(*args: Any, **named: Any) -> Any:
        works(*args, **named)  # so that no thread of this test outlives it
        raise RuntimeError("of the SDK")

    monkeypatch.setattr(of, method, fails)
    with exporting():
        spans = tracing.spans
        with spans.request("GET", "http", [(b"traceparent", b"00-1")]), spans.append(None, 1):
            spans.record_headers()
            spans.answered("GET", "/version", 500)
            done.append("request")
        with pytest.raises(KeyError), spans.block("log", [None]):
            spans.note({"meterport.block.events": 1})
            spans.attempt_failed("code")
            last = spans.current()
            with spans.step("plan"), spans.statement("SELECT"):
                raise KeyError("of the block")
        with spans.under(last), spans.step("acknowledge"):
            done.append("acknowledge")

    assert done == ["request", "acknowledge"]
    assert {record.getMessage().partition(":")[0] for record in caplog.records} == {"spans_lost reason=RuntimeError"}


def test_a_second_export_in_a_process_leaves_the_first_as_it_was(receiver: OtlpReceiver) -> None:
    with exporting():
        with exporting(), tracing.spans.block("inner", []):
            pass
        with tracing.spans.block("outer", []):
            pass
    assert type(tracing.spans) is tracing.Spans

    assert len(receiver.named("store block")) == 2
