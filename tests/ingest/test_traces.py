"""The spans of blocks that do not go as they should: run again by another process, or after attempts that failed."""

import threading
import time
from collections.abc import Iterator

import pytest

from engine import tracing
from engine.config.settings import IngestSettings
from engine.errors import LogUnavailable
from engine.store.clickhouse import Store
from engine.tracing.opentelemetry import exporting
from ingest.consumer import Consumer
from ingest.event_log import Record, ranges_of
from ingest.persistence import Retrier
from tests.harness.memory_log import MemoryLog, MemoryTopic
from tests.harness.otlp_receiver import OtlpReceiver, attributes

NOW = round(time.time() * 1000)
EVENT = b'{"specversion":"1.0","id":"%d","source":"s","type":"call","subject":"u"}'
SENDER = b"00-11111111111111111111111111111111-2222222222222222-01"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    with OtlpReceiver().running() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        yield running


def test_a_block_that_another_process_planned_says_so_and_keeps_its_links(store: Store, receiver: OtlpReceiver) -> None:
    records = [Record(0, offset, NOW, EVENT % offset, [("traceparent", SENDER)]) for offset in range(2)]
    topic = MemoryTopic({0: records})
    dead = MemoryLog(topic, [0])
    plan = dead.plan(ranges_of(dead.read(10, 10_000, 0)), NOW)
    assert plan is not None

    with exporting():
        consumer = Consumer(MemoryLog(topic, [0]), store, IngestSettings(), threading.Event())
        consumer.start()

    assert topic.is_drained
    [block] = receiver.named("store block")
    told = attributes(block)
    assert (told["meterport.block.resumed"], told["meterport.block.token"]) == (True, plan.token)
    assert (told["meterport.block.events"], told["meterport.block.stored"]) == (2, 2)
    assert [link.trace_id.hex() for link in block.links] == ["1" * 32]


def test_each_attempt_that_failed_is_told_with_its_code(receiver: OtlpReceiver) -> None:
    outcomes = iter([LogUnavailable("of acme"), LogUnavailable("of acme"), None])

    def attempt() -> None:
        if error := next(outcomes):
            raise error

    with exporting(), tracing.spans.block("memory", []):
        Retrier(threading.Event()).until_done(attempt)

    [block] = receiver.named("store block")
    assert [[each.value.string_value for each in event.attributes] for event in block.events] == [
        ["log-unavailable"],
        ["log-unavailable"],
    ]
    assert "acme" not in receiver.messages[0]


def test_an_acknowledgement_is_not_told_below_another_block(store: Store, receiver: OtlpReceiver) -> None:
    """A partition leaves after its block was stored, and comes back with its plan after the block of another one."""
    topic = MemoryTopic({0: [Record(0, offset, NOW, EVENT % offset) for offset in range(2)]})
    log = MemoryLog(topic, [0])
    with exporting():
        consumer = Consumer(log, store, IngestSettings(batch_rows=1), threading.Event())
        consumer.step()  # stored, and to be acknowledged by the plan of the next record
        log.take(0)
        consumer.step()
        log.give(1)
        topic.append(1, EVENT % 2, arrived_ms=NOW)
        consumer.step()
        log.give(0)
        consumer.step()

    assert topic.is_drained
    told = [[step.name for step in receiver.children(block)] for block in receiver.named("store block")]
    assert [steps.count("acknowledge") for steps in told if "insert" in steps] == [0, 1, 1]
