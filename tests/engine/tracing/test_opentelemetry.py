"""Spans: which traces a block links to, what the OTEL_ variables may say, and what is kept while nobody takes spans."""

import re
import threading
from pathlib import Path

import pytest

from engine import tracing
from engine.tracing.opentelemetry import MAX_LINKS, exporting, linked_parents
from tests.harness.otlp_receiver import OtlpReceiver, attributes
from tests.harness.preloaded import ROOT
from tests.harness.topics import wait_for


def _parent(number: int, flags: str = "01") -> bytes:
    return f"00-{number:032x}-{number:016x}-{flags}".encode()


def _links(*values: bytes | None) -> list[int]:
    return [link.trace_id for link in linked_parents([("traceparent", value)] for value in values)]


def test_a_block_links_to_each_trace_once() -> None:
    assert _links(_parent(1), _parent(2), _parent(1), _parent(2)) == [1, 2]


def test_a_block_has_a_bounded_number_of_links_and_reads_no_further() -> None:
    headers = iter([[("traceparent", _parent(number))] for number in range(1, 1000)])

    assert len(list(linked_parents(headers))) == MAX_LINKS
    assert len(list(headers)) == 999 - MAX_LINKS
    many_of_one_record = [[("traceparent", _parent(number)) for number in range(1, 1000)]]
    assert len(list(linked_parents(many_of_one_record))) == MAX_LINKS


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff\x00",
        _parent(0),
        _parent(1, "00"),
        _parent(1, "fe"),
        _parent(1)[:-1],
        _parent(1) + b"\n",
        _parent(1) + b"-more",
        b"ff" + _parent(1)[2:],
        _parent(1).upper().replace(b"0", b"A"),
        b"x" * 1_000_000,
    ],
)
def test_what_is_no_recorded_parent_is_ignored(value: bytes | None) -> None:
    assert _links(value, _parent(7)) == [7]


def test_a_parent_of_a_later_version_is_linked_to() -> None:
    assert _links(b"01" + _parent(5, "03")[2:] + b"-more") == [5]


def test_records_without_headers_have_no_links() -> None:
    assert list(linked_parents([None, [], [("content-type", b"x")], [("Traceparent", _parent(1))]])) == []


@pytest.mark.parametrize(("variable", "value"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")])
def test_a_variable_can_turn_it_off(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)

    with exporting():
        assert type(tracing.spans) is tracing.Spans


def test_a_request_that_is_not_sampled_sends_nothing_and_marks_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    with OtlpReceiver().running() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
        with exporting():
            with tracing.spans.request("GET", "http", []), tracing.spans.append("events", 1):
                assert tracing.spans.record_headers() == ()
            chosen = [(b"traceparent", _parent(7))]
            with tracing.spans.request("GET", "http", chosen):
                [(_, carried)] = tracing.spans.record_headers()
                assert carried is not None
                assert carried.startswith(_parent(7)[:36])
            with tracing.spans.request("GET", "http", chosen * 2):
                assert tracing.spans.record_headers() == ()

    assert [span.trace_id.hex() for span in receiver.spans] == [f"{7:032x}"]


@pytest.mark.parametrize(
    ("sampler", "recorded"), [("parentbased_traceidratio", [7]), ("traceidratio", []), ("always_on", [7, 0])]
)
def test_a_block_of_a_recorded_request_is_recorded_however_small_the_share(
    sampler: str, recorded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sampler by parents follows links as it follows parents."""
    with OtlpReceiver().running() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
        with exporting():
            for parent in (_parent(7), _parent(8, "00")):
                with tracing.spans.block("log", [[("traceparent", parent)]]), tracing.spans.step("plan"):
                    pass

    blocks = receiver.named("store block")
    assert [sum(int(link.trace_id.hex(), 16) for link in block.links) for block in blocks] == recorded
    assert len(receiver.named("plan")) == len(recorded)


@pytest.mark.parametrize("header", [b"", b"\xff" * 600, b"00-1-2-3", _parent(0), b"00-" + b"g" * 52])
def test_garbage_of_a_caller_begins_a_trace_of_its_own(header: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with OtlpReceiver().running() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        state = (b"tracestate", b"\xff=,,=" * 300)
        with exporting(), tracing.spans.request("GET", "http", [(b"traceparent", header), state]):
            tracing.spans.answered("GET", "/version", 200)

    [span] = receiver.spans
    assert (span.name, span.parent_span_id) == ("GET /version", b"")


def test_an_append_names_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    with OtlpReceiver().running() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        with exporting(), tracing.spans.request("POST", "http", []):
            for topic in (None, "events"):
                with tracing.spans.append(topic, 2):
                    pass

    told = {span.name: attributes(span).get("messaging.system") for span in receiver.spans}
    assert told == {"append": "sqlite", "send events": "kafka", "POST": None}


def test_of_an_error_the_class_is_told_and_not_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with OtlpReceiver().running() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        with exporting():  # noqa: SIM117 - the error ends within
            with pytest.raises(ValueError, match="subject"), tracing.spans.block("log", []):
                tracing.spans.attempt_failed("store-unavailable")
                raise ValueError("subject acme")

    [span] = receiver.spans
    assert attributes(span)["error.type"] == "ValueError"
    assert [event.name for event in span.events] == ["attempt failed"]
    assert "acme" not in receiver.messages[0]


def test_what_waits_for_an_endpoint_that_stalls_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans beyond the queue are lost, and nobody waits."""
    with OtlpReceiver().running() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "20")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
        receiver.goes_on.clear()
        with exporting():
            for _ in range(10):
                with tracing.spans.block("log", []):
                    pass
            wait_for(lambda: receiver.requests == 1)
            for _ in range(1000):
                with tracing.spans.block("log", []):
                    pass
            receiver.goes_on.set()

    assert len(receiver.spans) == 30


def test_a_process_ends_although_its_last_spans_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.tracing.opentelemetry.SPANS_SECONDS", 0.1)
    with OtlpReceiver().running() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        receiver.goes_on.clear()
        with exporting(), tracing.spans.block("log", []):
            pass

        [sending] = [thread for thread in threading.enumerate() if thread.name == "last-spans"]
        receiver.goes_on.set()
        sending.join()


def test_only_two_modules_import_opentelemetry() -> None:
    folders = ("api", "engine", "ingest", "meterport")
    sources = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    importing = re.compile(r"^\s*(?:from|import) opentelemetry", re.MULTILINE)

    assert [path.relative_to(ROOT) for path in sources if importing.search(path.read_text())] == [
        Path("engine/tracing/export.py"),
        Path("engine/tracing/opentelemetry.py"),
    ]
