"""Events over HTTP to a real topic: an accepted event is durable, and without brokers no event is accepted.

These tests have their own broker, because they stop and kill it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from engine.config.kafka_settings import KafkaSettings
from engine.errors import LogFull, LogUnavailable, TooLarge
from ingest.dead_letters import DeadLetter
from ingest.event_log import Record
from ingest.kafka.producer import KafkaProducer
from tests.harness.broker import Broker
from tests.harness.own_broker import broker, hang, process
from tests.harness.topics import Topic, retry_until_answered, wait_for
from tests.ingest.kafka.topic_content import partition_count, stored_messages, stored_values

__all__ = ["broker", "process"]  # fixtures of another file

# How long brokers may take to accept an event. It is less for the tests in which they do not answer; when they do, they
# may take longer than that on a busy machine, and the event is appended again.
PRODUCE_SECONDS, FEW_SECONDS = 30, 2
Open = Callable[..., KafkaProducer]


@pytest.fixture
def open_producer() -> Iterator[Open]:
    opened: list[KafkaProducer] = []

    def open_(topic: Topic, produce_seconds: int = PRODUCE_SECONDS, **options: str) -> KafkaProducer:
        opened.append(producer := KafkaProducer(_settings(topic, produce_seconds, **options)))
        return producer

    yield open_
    for producer in opened:
        producer.close()


def _settings(topic: Topic, produce_seconds: int = PRODUCE_SECONDS, **options: str) -> KafkaSettings:
    named = {name.replace("_", "."): value for name, value in options.items()}
    own = {"produce_seconds": produce_seconds, "partitions": 5, "dead_letter_topic": f"{topic.name}.dead"}
    return topic.settings(options=named).model_copy(update=own)


def _missing(topic: Topic) -> Topic:
    """Return a topic that does not exist yet, with the number of partitions that it will get."""
    return Topic(topic.bootstrap, 5)


def _event(subject: str = "u", size: int = 0) -> bytes:
    return f'{{"id":"1","source":"s","type":"t","subject":"{subject}","data":{{"p":"{"x" * size}"}}}}'.encode()


def test_what_is_done_is_in_the_topic_even_if_the_broker_is_killed_at_once(
    open_producer: Open, topic: Topic, process: Broker
) -> None:
    producer = open_producer(topic)

    producer.append([_event("a"), _event("b"), _event("a")], 1_764_547_200_123).result(30)
    process.kill()
    process.start()

    stored = stored_messages(topic)
    assert sorted(message.value() or b"" for message in stored) == [_event("a"), _event("a"), _event("b")]
    assert {message.timestamp()[1] for message in stored} == {1_764_547_200_123}
    assert {tuple(message.headers() or ()) for message in stored} == {
        (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
    }


@pytest.mark.parametrize(
    ("subject", "partition"),
    [
        ("21", 0),
        ("foobar", 6),
        ("a-little-bit-long-string", 8),
        ("a-little-bit-longer-string", 11),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", 5),
        ("abc", 3),
    ],
)
def test_a_subject_has_the_partition_that_producers_in_java_give_it(topic: Topic, subject: str, partition: int) -> None:
    """murmur2 of the key modulo 12 partitions; the strings and their hashes are those of Kafka's own UtilsTest."""
    twelve = Topic(topic.bootstrap, 12)
    producer = KafkaProducer(_settings(twelve).model_copy(update={"partitions": 12}))
    with closing(producer):
        producer.append([_event(subject), _event(subject)], 1).result(30)

    assert [(message.partition(), message.key()) for message in stored_messages(twelve)] == [
        (partition, subject.encode())
    ] * 2


def test_a_topic_that_is_missing_is_made_as_configured(open_producer: Open, topic: Topic) -> None:
    missing = _missing(topic)

    open_producer(missing).append([_event()], 1).result(30)

    assert partition_count(missing) == 5
    assert stored_values(missing) == [_event()]


def test_a_topic_that_is_there_is_left_as_it_is(open_producer: Open, topic: Topic) -> None:
    open_producer(topic).append([_event()], 1).result(30)

    assert partition_count(topic) == 3


def test_two_processes_that_miss_a_topic_at_once_both_go_on(open_producer: Open, topic: Topic) -> None:
    missing = _missing(topic)
    producers = [open_producer(missing), open_producer(missing)]

    done = [producer.append([_event()], 1) for producer in producers * 2]

    assert [future.result(30) for future in done] == [None] * 4
    assert stored_values(missing) == [_event()] * 4
    assert partition_count(missing) == 5


@pytest.mark.parametrize("topic_options", [{"max.message.bytes": "100000"}])
def test_an_event_that_is_too_large_is_refused_and_the_next_is_not(open_producer: Open, topic: Topic) -> None:
    producer = open_producer(topic)

    with pytest.raises(TooLarge, match="larger than the brokers accept"):
        producer.append([_event(size=100_000)], 1).result(30)
    producer.append([_event(size=99_000)], 1).result(30)

    assert stored_values(topic) == [_event(size=99_000)]


def test_nothing_to_append_is_done(open_producer: Open, topic: Topic) -> None:
    producer = open_producer(topic)

    assert producer.append([], 1).result(30) is None
    assert producer.append([], 1).result(1) is None


@pytest.mark.parametrize("away", ["killed", "stopped"])
def test_while_brokers_are_away_nothing_is_done_and_after_it_everything_is(
    open_producer: Open, topic: Topic, process: Broker, away: str
) -> None:
    producer = open_producer(topic, FEW_SECONDS)
    _append_when_accepted(producer, "before")
    _send_away(process, away)

    began = time.monotonic()
    done = [producer.append([_event("during")] * 10, 1) for _ in range(10)]
    for future in done:
        with pytest.raises(LogUnavailable):
            future.result(30)
    assert time.monotonic() - began > FEW_SECONDS - 0.5

    _bring_back(process, away)
    _append_when_accepted(producer)
    stored = stored_values(topic)
    assert {_event("before"), _event("after")} <= set(stored)
    assert stored.count(_event("during")) <= (0 if away == "killed" else 100)  # a hung broker may get them later


@pytest.mark.parametrize("away", ["killed", "stopped"])
def test_brokers_that_are_away_from_the_start_are_not_asked_by_each_request_anew(
    open_producer: Open, topic: Topic, process: Broker, away: str
) -> None:
    producer = open_producer(topic, FEW_SECONDS)
    _send_away(process, away)
    before = threading.active_count()

    done = [producer.append([_event("during")], 1) for _ in range(100)]
    assert threading.active_count() - before <= 1
    for future in done:
        with pytest.raises(LogUnavailable):
            future.result(30)

    _bring_back(process, away)
    _append_when_accepted(producer)
    assert {*stored_values(topic)} == {_event("after")}


def test_a_queue_that_is_full_refuses_and_takes_again_when_it_was_drained(
    open_producer: Open, topic: Topic, process: Broker
) -> None:
    producer = open_producer(topic, FEW_SECONDS, queue_buffering_max_kbytes="1024")
    _append_when_accepted(producer)
    hang(process)

    waiting = producer.append([_event(size=500_000)] * 2, 1)
    with pytest.raises(LogFull):
        producer.append([_event(size=500_000)], 1).result(30)
    with pytest.raises(LogUnavailable):
        waiting.result(30)

    process.continue_()
    _append_when_accepted(producer)


def test_a_caller_that_goes_away_stops_nobody(open_producer: Open, topic: Topic) -> None:
    producer = open_producer(topic)
    producer.append([_event()], 1).result(30)

    abandoned = producer.append([_event()], 1)
    abandoned.cancel()

    assert [producer.append([_event()], 1).result(30) for _ in range(3)] == [None] * 3
    wait_for(lambda: len(stored_messages(topic)) == 5)


def test_a_client_that_is_replaced_refuses_what_is_not_delivered(
    open_producer: Open, topic: Topic, process: Broker
) -> None:
    producer = open_producer(topic)
    producer.append([_event("before")], 1).result(30)
    hang(process)
    given_up = producer.append([_event("during")], 1)

    producer._replace_producer()
    process.continue_()

    with pytest.raises(LogUnavailable):
        given_up.result(30)
    producer.append([_event("after")], 1).result(30)
    assert {_event("before"), _event("after")} <= set(stored_values(topic))


def test_closing_waits_for_what_was_sent(topic: Topic) -> None:
    producer = KafkaProducer(_settings(topic))
    producer.append([_event()], 1).result(30)
    done = [producer.append([_event()] * 100, 1) for _ in range(20)]

    producer.close()

    assert [future.result(0) for future in done] == [None] * 20
    assert len(stored_messages(topic)) == 2001


def test_dead_letters_are_sent_with_what_they_were_and_why_they_are_dead(open_producer: Open, topic: Topic) -> None:
    producer = open_producer(topic)
    record = Record(2, 7, 1, b"\xff", [("ce_id", b"1"), ("none", None)])

    producer.send([DeadLetter(record, "not UTF-8"), DeadLetter(Record(0, 0, 1, None), "empty")])

    one, other = stored_messages(Topic(topic.bootstrap, 5, f"{topic.name}.dead"))
    if one.value() is None:
        one, other = other, one
    assert (one.value(), one.headers()) == (
        b"\xff",
        [
            ("ce_id", b"1"),
            ("none", None),
            ("meterport-reason", b"not UTF-8"),
            ("meterport-position", f"{topic.name}:2:7".encode()),
        ],
    )
    assert (other.value(), other.headers()) == (
        None,
        [("meterport-reason", b"empty"), ("meterport-position", f"{topic.name}:0:0".encode())],
    )


def test_dead_letters_that_cannot_be_sent_say_so(open_producer: Open, topic: Topic, process: Broker) -> None:
    producer = open_producer(topic, FEW_SECONDS)
    letters = [DeadLetter(Record(0, 0, 1, b"x"), "why")]
    retry_until_answered(lambda: producer.send(letters))
    hang(process)

    with pytest.raises(LogUnavailable):
        producer.send(letters)

    process.continue_()
    retry_until_answered(lambda: producer.send(letters))


def _send_away(process: Broker, how: str) -> None:
    process.kill() if how == "killed" else hang(process)


def _bring_back(process: Broker, how: str) -> None:
    process.start() if how == "killed" else process.continue_()


def _append_when_accepted(producer: KafkaProducer, subject: str = "after") -> None:
    """Append one event, as soon as brokers accept one. One that was refused may be in the topic nevertheless."""
    errors: list[BaseException | None] = []

    def appended() -> bool:
        errors.append(producer.append([_event(subject)], 1).exception(30))
        return errors[-1] is None

    wait_for(appended, lambda: errors[-1])
