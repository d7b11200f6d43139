"""Traces of a real process: from the request of a producer through Kafka to the block, and to a query.

The process sends them to a receiver of OTLP, which decodes them.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from engine.instants import utc_now
from tests.harness.broker import Kafka
from tests.harness.otlp_receiver import OtlpReceiver, attributes
from tests.harness.ports import free_ports
from tests.harness.preloaded import ROOT
from tests.harness.server import Server
from tests.harness.topics import Topic, require_real_broker, wait_for
from tests.ingest.kafka.topic_content import stored_messages

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CONTINUED = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=x", "baggage": "user=secret-baggage"}
BORN = "00-0af7651916cd43dd8448eb211c80319c-b9c7c989f97918e1-01"  # the trace in which an event came to be
BATCH = {"Content-Type": "application/cloudevents-batch+json"}
JSON = {"Content-Type": "application/cloudevents+json"}
KEY = "secret-key-of-this-test-0123456789"
SECRETS = ("secret-", "om_portal", "1234567", "Bearer", BORN.split("-")[1])


class Traced:
    """A process that sends its spans to a receiver, and its client."""

    def __init__(self, server: Server, receiver: OtlpReceiver, topic: Topic) -> None:
        self.server, self.receiver, self.topic = server, receiver, topic
        self.client = httpx.Client(base_url=f"{server.url}", timeout=60, headers={"Authorization": f"Bearer {KEY}"})

    def value(self, path: str = "/api/v1/meters/calls/query", **headers: str) -> object:
        rows = self.client.get(path, headers=headers).raise_for_status().json()["data"]
        return rows[0]["value"] if rows else None

    def post(self, body: object, **headers: str) -> None:
        self.client.post("/api/v1/events", content=json.dumps(body), headers=JSON | headers).raise_for_status()


def _event(id_: str, **members: object) -> dict[str, object]:
    data = {"amount": 1, "note": "secret-data"}
    event = {"specversion": "1.0", "id": id_, "source": "secret-source", "type": "call", "subject": "secret-subject"}
    return {**event, "data": data, **members}


def _variables(topic: Topic, endpoint: str) -> dict[str, str]:
    meters = [{"slug": "calls", "eventType": "call", "aggregation": "COUNT", "groupBy": {"note": "$.note"}}]
    return {
        "METERPORT_API_KEY": KEY,
        "METERPORT_KAFKA__BROKERS": topic.bootstrap,
        "METERPORT_KAFKA__TOPIC": topic.name,
        "METERPORT_KAFKA__GROUP": topic.name,
        "METERPORT_METERS": json.dumps(meters),
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=tests",
    }


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver().running() as running:
        yield running


@pytest.fixture
def topic(broker: Kafka) -> Topic:
    made = Topic(require_real_broker(broker).bootstrap, 1)
    broker.create_topic(made.name, 1)
    return made


@contextmanager
def _traced(directory: Path, receiver: OtlpReceiver, topic: Topic, **variables: str) -> Iterator[Traced]:
    """Yield a process that sends its spans. At the end it is asked to stop, and has sent the last ones."""
    given = {**_variables(topic, receiver.url), "METERPORT_TRACING": "true", **variables}
    with Server(directory, variables=given) as server:
        server.start()
        started = Traced(server, receiver, topic)
        with started.client:
            yield started
        assert server.terminate() == 0


def test_one_trace_leads_from_the_producer_to_the_block_and_to_the_query(
    receiver: OtlpReceiver, topic: Topic, tmp_path: Path
) -> None:
    with _traced(tmp_path, receiver, topic) as traced:
        events = [_event(f"secret-id-{n}", traceparent=BORN, tracestate="a=b") for n in range(3)]
        traced.post(events, **CONTINUED, **BATCH)
        wait_for(lambda: traced.value() == 3, traced.server.tail)
        chosen = "?filterGroupBy[note]=secret-data&subject=secret-subject"
        assert traced.value(f"/api/v1/meters/calls/query{chosen}", **CONTINUED) == 3
        token = traced.client.post("/api/v1/portal/tokens", json={"subject": "secret-subject"}).json()["token"]
        assert traced.value("/api/v1/portal/meters/calls/query", Authorization=f"Bearer {token}") == 3
        assert traced.client.get("/api/v1/subjects/secret-subject").status_code == 404
        traced.client.get("/livez")

    [post] = receiver.named("POST /api/v1/events")
    assert (post.trace_id.hex(), post.parent_span_id.hex()) == (TRACE, CALLER)
    assert attributes(post) == {
        "http.request.method": "POST",
        "url.scheme": "http",
        "http.route": "/api/v1/events",
        "http.response.status_code": 204,
    }
    [send] = receiver.children(post)
    assert (send.name, send.kind) == (f"send {topic.name}", Span.SPAN_KIND_PRODUCER)
    assert attributes(send)["messaging.batch.message_count"] == 3

    carried = ("traceparent", f"00-{TRACE}-{send.span_id.hex()}-01".encode())
    records = stored_messages(topic)
    assert [list(message.headers() or ())[1:] for message in records] == [[carried]] * 3
    sent = json.loads(records[0].value() or b"")
    assert (sent["traceparent"], sent["tracestate"]) == (BORN, "a=b")

    _check_block(receiver, topic, send)
    _check_query(receiver, post)
    assert receiver.named("GET /api/v1/portal/meters/{slug}/query")
    assert receiver.named("GET /api/v1/subjects/{subject:path}")
    assert not receiver.named("GET /livez")
    everything = "".join(receiver.messages)
    assert [secret for secret in SECRETS if secret in everything] == []
    assert {resource["service.name"] for resource in receiver.resources} == {"meterport"}
    assert receiver.resources[0]["deployment.environment.name"] == "tests"


def _check_block(receiver: OtlpReceiver, topic: Topic, send: Span) -> None:
    [block] = receiver.named("store block")
    assert not block.parent_span_id
    assert [(link.trace_id, link.span_id) for link in block.links] == [(send.trace_id, send.span_id)]
    told = attributes(block)
    assert len(str(told.pop("meterport.block.token"))) == 32
    assert told == {
        "messaging.operation.type": "process",
        "meterport.log": f"{topic.name}/{topic.name}",
        "meterport.block.events": 3,
        "meterport.block.dead_letters": 0,
        "meterport.block.partitions": 1,
        "meterport.block.stored": 3,
    }
    steps = receiver.children(block)
    assert [step.name for step in steps] == ["plan", "deduplicate", "insert", "acknowledge"]
    assert receiver.children(steps[1])[0].name == "claim"
    assert attributes(steps[2]) == {"db.collection.name": "events"}


def _check_query(receiver: OtlpReceiver, post: Span) -> None:
    query = next(span for span in receiver.named("GET /api/v1/meters/{meter}/query") if span.trace_id == post.trace_id)
    [usage] = receiver.children(query)
    assert (usage.name, attributes(usage)["meterport.meter"]) == ("query usage", "calls")
    assert {span.name for span in receiver.children(usage)} == {"SELECT"}


def test_what_others_write_into_the_header_changes_nothing_that_is_stored(
    receiver: OtlpReceiver, topic: Topic, tmp_path: Path
) -> None:
    """A record is judged, kept as a dead letter and replayed as without the header; a valid one is linked to."""
    foreign = b"00-11111111111111111111111111111111-2222222222222222-01"
    good, tomorrow = _event("1"), _event("4", time=(utc_now() + timedelta(hours=12)).isoformat())
    letters = "/api/v1/dead-letters"
    with _traced(tmp_path, receiver, topic, METERPORT_INGEST__FUTURE_SECONDS="60") as traced:
        for value in (b"", b"\xff\xfe", b"00-" + b"0" * 32 + b"-2222222222222222-01", b"x" * 100_000):
            topic.put(json.dumps(good).encode(), headers=[("traceparent", value), ("tracestate", b"\xff")])
        topic.put(json.dumps(_event("2")).encode(), headers=[("traceparent", foreign), ("traceparent", foreign)])
        topic.put(json.dumps(_event("3")).encode(), headers=[("traceparent", foreign[:-1] + b"0")])  # not recorded
        topic.put(json.dumps(tomorrow).encode(), headers=[("traceparent", foreign)])
        wait_for(lambda: traced.value() == 3, traced.server.tail)
        wait_for(lambda: len(traced.client.get(letters).json()) == 1, traced.server.tail)
        [letter] = traced.client.get(letters).json()
        assert letter["headers"] == [["traceparent", foreign.decode()]]
        assert traced.client.get("/api/v1/duplicates").json() == []
    with _traced(tmp_path, receiver, topic) as traced:
        replayed = traced.client.post(f"{letters}/replay", json={"all": True})
        assert replayed.json() == {"replayed": 1, "stillInvalid": 0, "problems": []}
        wait_for(lambda: traced.value() == 4, traced.server.tail)

    links = {link.trace_id.hex() for block in receiver.named("store block") for link in block.links}
    [replay] = receiver.named("POST /api/v1/dead-letters/replay")
    assert links == {"1" * 32, replay.trace_id.hex()}


def test_it_is_off_unless_it_is_asked_for(receiver: OtlpReceiver, topic: Topic, tmp_path: Path) -> None:
    """The OTEL_ variables alone, which a cluster may give to every pod, turn nothing on."""
    with Server(tmp_path, variables=_variables(topic, receiver.url)) as server:
        server.start()
        off = Traced(server, receiver, topic)
        with off.client:
            off.post(_event("1"), **CONTINUED)
            wait_for(lambda: off.value() == 1, server.tail)
        assert server.terminate() == 0

    assert receiver.requests == 0
    assert [len(message.headers() or ()) for message in stored_messages(topic)] == [1]


@pytest.mark.parametrize("endpoint", ["stalls", pytest.param("refuses", marks=pytest.mark.only_long)])
def test_an_endpoint_that_is_away_delays_nothing(
    endpoint: str, receiver: OtlpReceiver, topic: Topic, tmp_path: Path
) -> None:
    receiver.goes_on.clear()
    url = receiver.url if endpoint == "stalls" else f"http://127.0.0.1:{free_ports(1)[0]}"
    small = {
        "OTEL_BSP_MAX_QUEUE_SIZE": "8",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1000",
    }
    with Server(tmp_path, variables={**_variables(topic, url), **small, "METERPORT_TRACING": "true"}) as server:
        server.start()
        away = Traced(server, receiver, topic)
        with away.client:
            for number in range(50):
                away.post(_event(str(number)))
            wait_for(lambda: away.value() == 50, server.tail)
            wait_for(lambda: "spans_lost" in server.tail(), server.tail)
            for number in range(50):
                away.post(_event(str(50 + number)))
            wait_for(lambda: away.value() == 100, server.tail)
        server.signal(signal.SIGTERM)
        assert server.wait_for_death(60)
        log = server.log.read_text()

    reason = "ConnectionError" if endpoint == "refuses" else "ReadTimeout"
    assert log.count(f"spans_lost reason={reason}") == 1
    assert [words for words in ("Transient error", "Failed to export", "Queue full") if words in log] == []
    assert log.rstrip().endswith("stopped")


@pytest.mark.parametrize("variable", ["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_PYTHON_CONTEXT"])
def test_a_variable_that_the_sdk_reads_while_it_is_imported_is_checked_before(variable: str, tmp_path: Path) -> None:
    with Server(tmp_path, variables={variable: "soon", "METERPORT_TRACING": "true"}) as server:
        server.launch()
        assert server.wait_for_death(60)
        log = server.log.read_text()

    assert log.startswith(f"meterport: {variable}: ")
    assert len(log.splitlines()) == 1
    assert not (tmp_path / "data").exists()


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    absent = "raise ModuleNotFoundError(f'No module named {__name__!r}', name=__name__)\n"
    (tmp_path / "opentelemetry" / "__init__.py").write_text(absent)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("METERPORT_")}
    variables = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "METERPORT_TRACING": "true"}

    ended = subprocess.run(
        [sys.executable, "-m", "meterport", "serve"], cwd=tmp_path, env={**inherited, **variables},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ended.returncode == 78
    assert ended.stderr == "meterport: tracing: OpenTelemetry is not installed: install meterport[otel]\n"
    assert not (tmp_path / "data").exists()
