"""The dead-letter topic on a real broker: each dead letter is there before its batch is acknowledged, at least once."""

import json
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from engine.config.kafka_settings import KafkaSettings
from engine.config.settings import IngestSettings
from engine.store.clickhouse import Store
from ingest.consumer import Consumer
from ingest.dead_letters import DeadLetter
from ingest.event_log import Plan
from ingest.kafka.log import KafkaLog
from ingest.kafka.producer import KafkaProducer
from tests.harness.server import Server
from tests.harness.topics import CLASSIC, Topic, wait_for

GOOD = b'{"specversion":"1.0","id":"%d","source":"s","type":"call","subject":"u"}'
Found = list[tuple[bytes | None, dict[str, bytes | None]]]
Letters = Callable[[int], Found]


def settings_of(topic: Topic) -> KafkaSettings:
    return topic.settings().model_copy(update={"dead_letter_topic": f"{topic.name}.dead", "partitions": 1})


@pytest.fixture
def letters(topic: Topic) -> Iterator[Letters]:
    """Wait until the dead-letter topic has a number of records. Return their values and headers."""
    reader = KafkaConsumer({"bootstrap.servers": topic.bootstrap, "group.id": secrets.token_hex(4)})
    found: Found = []

    def read(wanted: int) -> Found:
        reader.assign([TopicPartition(f"{topic.name}.dead", 0, len(found))])

        def enough() -> bool:
            for message in reader.consume(100, 0.5):
                assert message.error() is None, message.error()
                found.append((message.value(), dict(message.headers() or [])))  # type: ignore[arg-type] # bytes, as read
            return len(found) >= wanted

        wait_for(enough, lambda: found)
        return found

    with closing(reader):
        yield read


def kept(store: Store) -> list[tuple[int, str]]:
    return store.rows("SELECT log_offset, reason FROM dead_letters ORDER BY log_offset")


class WatchedProducer(KafkaProducer):
    """Records which plans were not acknowledged at the moment when dead letters became durable."""

    def __init__(self, settings: KafkaSettings, planned: Callable[[], list[Plan]]) -> None:
        super().__init__(settings)
        self.seen: list[tuple[int, list[Plan]]] = []
        self._planned = planned

    def send(self, letters: Sequence[DeadLetter]) -> None:
        super().send(letters)
        self.seen.append((len(letters), self._planned()))


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_each_dead_letter_is_in_the_topic_before_its_batch_is_acknowledged(
    topic: Topic, letters: Letters, store: Store, ends: ExitStack
) -> None:
    topic.put(GOOD % 0, GOOD % 1)
    topic.put(b"garbage \xff", headers=[("trace", b"t-1")])
    topic.put(GOOD % 2, b"[]")
    log = ends.enter_context(closing(KafkaLog(settings_of(topic))))
    sink = ends.enter_context(closing(WatchedProducer(settings_of(topic), log.planned)))
    consumer = Consumer(log, store, IngestSettings(), threading.Event(), dead_letter_sink=sink)
    consumer.start()

    wait_for(lambda: not consumer.step(0.1) and store.rows("SELECT count() FROM events") == [(3,)])

    reasons = ["not UTF-8: invalid start byte at byte 8", "an event must be a JSON object"]
    assert kept(store) == [(2, reasons[0]), (4, reasons[1])]
    assert letters(2) == [
        (value, {**more, "meterport-reason": reason.encode(), "meterport-position": f"{topic.name}:0:{at}".encode()})
        for at, value, reason, more in ((2, b"garbage \xff", reasons[0], {"trace": b"t-1"}), (4, b"[]", reasons[1], {}))
    ]
    assert sum(sent for sent, _ in sink.seen) == 2
    assert all(plans for _, plans in sink.seen)  # when the dead letters were durable, the plan was not acknowledged
    assert log.planned() == []  # and now it is


@pytest.mark.parametrize(
    ("fault", "times"), [("ingest.after-plan", 1), ("ingest.after-dead-letters", 2), ("ingest.after-insert", 2)]
)
def test_a_process_that_dies_on_the_way_leaves_none_out(
    topic: Topic, letters: Letters, tmp_path: Path, fault: str, times: int
) -> None:
    """At least once: records that the dead process may have sent are sent again."""
    variables = {
        "METERPORT_KAFKA__BROKERS": topic.bootstrap,
        "METERPORT_KAFKA__TOPIC": topic.name,
        "METERPORT_KAFKA__GROUP": topic.name,
        "METERPORT_KAFKA__GROUP_PROTOCOL": "classic",
        "METERPORT_KAFKA__OPTIONS": json.dumps(CLASSIC),  # how soon the partitions of a dead process are reassigned
        "METERPORT_KAFKA__PARTITIONS": "1",
        "METERPORT_KAFKA__DEAD_LETTER_TOPIC": f"{topic.name}.dead",
    }
    topic.put(GOOD % 0, b"{}")
    server = Server(tmp_path, variables=variables)

    server.start(fault=f"{fault}:1")
    died = server.wait_for_death(40)
    server.start()
    found = letters(times)
    status = server.terminate()

    assert died
    assert status == 0
    assert (
        found
        == [(b"{}", {"meterport-reason": b"id is missing", "meterport-position": f"{topic.name}:0:1".encode()})] * times
    )


def test_a_letter_too_large_for_the_topic_is_there_without_its_value(
    topic: Topic, letters: Letters, store: Store, ends: ExitStack
) -> None:
    small = NewTopic(f"{topic.name}.dead", 1, 1, config={"max.message.bytes": "4000"})
    admin = AdminClient({"bootstrap.servers": topic.bootstrap})
    admin.create_topics([small])[small.topic].result(30)
    topic.put(b"[" + b"1," * 20_000 + b"1]", b"[]")
    log = ends.enter_context(closing(KafkaLog(settings_of(topic))))
    sink = ends.enter_context(closing(KafkaProducer(settings_of(topic))))
    consumer = Consumer(log, store, IngestSettings(), threading.Event(), dead_letter_sink=sink)
    consumer.start()

    wait_for(lambda: not consumer.step(0.1) and len(kept(store)) == 2)

    assert {headers["meterport-position"]: value for value, headers in letters(2)} == {
        f"{topic.name}:0:0".encode(): None,
        f"{topic.name}:0:1".encode(): b"[]",
    }
    assert log.planned() == []
