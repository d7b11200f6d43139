"""Writes events to the topic: what came over HTTP is durable on the brokers before it is answered.

Owns: one producer with acks=all, the key of a record (the event's subject), and the wait for every delivery report of a
batch. Safe to repeat: an event that is sent twice is counted once (docs/design.md R10: duplicates).
If tracing is on, a record carries the trace of its request in the header `traceparent`. The attributes `traceparent`
and `tracestate` of an event name the trace in which it came to be: they stay as they were sent.
Source: docs/design.md R3 (durable append), R4 (what is accepted is stored); CloudEvents Kafka protocol binding 1.0.2,
and its extension for distributed tracing.
"""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from engine import tracing
from engine.config.kafka_settings import KafkaSettings
from engine.errors import LogFull, LogUnavailable, MeterportError, TooLarge, Unavailable
from engine.health import Pulse
from ingest.dead_letters import DeadLetter
from ingest.event_log import Headers
from ingest.kafka.client import ANSWER_TIMEOUT_SECONDS, Options, ensure_topic
from ingest.kafka.known_brokers import connect_watched

logger = logging.getLogger(__name__)
_POLL_SECONDS = 0.1
_PURGE_SECONDS = 1
_QUEUE_RECORDS = 1_000_000
_REASON_CHARACTERS = 1000  # a reason may quote the record
_STRUCTURED: Headers = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_MSG_SIZE})


class _Keyed(msgspec.Struct):
    subject: str


_key_decoder = msgspec.json.Decoder(_Keyed)


class _Delivery:
    """Counts the delivery reports of one batch, and completes its future after the last one."""

    def __init__(self, size: int, appends: Pulse) -> None:
        """Args: appends: receives the result."""
        self.done = _running_future()
        self._appends = appends
        self._lock = threading.Lock()
        self._unreported = size
        self._error: MeterportError | None = None
        if not size:
            self.done.set_result(None)

    def on_delivery(self, error: KafkaError | None, _: Message | None) -> None:
        with self._lock:
            if error is not None:
                self._error = self._error or _to_error(error)
            self._unreported -= 1
            if self._unreported:
                return
        if self._error:
            if isinstance(self._error, Unavailable):
                self._appends.failed(str(self._error))
            self.done.set_exception(self._error)
        else:
            self._appends.succeeded()
            self.done.set_result(None)


class KafkaProducer:
    """An `EventAppender` and a `DeadLetterSink`. Thread-safe. A thread of its own serves the delivery reports."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self.appends = Pulse()  # when brokers last accepted a batch, and since when they accept none
        self._producer, self._known_brokers = connect_watched(Producer, settings, _producer_options(settings))
        self._topics: set[str] = set()  # topics known to exist
        self._search_lock = threading.Lock()
        self._topic_search: Future[None] | None = None  # the search for the topic of events
        self._closing = threading.Event()
        self.thread = threading.Thread(target=self._serve, name="kafka-producer", daemon=True)
        self.thread.start()

    def append(self, values: Sequence[bytes], arrived_ms: int) -> "Future[None]":
        """See `EventAppender.append`."""
        headers = [*_STRUCTURED, *tracing.spans.record_headers()]
        if self._settings.topic not in self._topics:
            return self._append_later(values, headers, arrived_ms)
        return self._append(values, headers, arrived_ms)

    def _append(self, values: Sequence[bytes], headers: Headers, arrived_ms: int) -> "Future[None]":
        records = [(value, _key_decoder.decode(value).subject, headers) for value in values]
        return self._send(self._settings.topic, records, arrived_ms)

    def _append_later(self, values: Sequence[bytes], headers: Headers, arrived_ms: int) -> "Future[None]":
        """Append once the topic is known to exist, without making the caller wait."""
        done = _running_future()

        def sent(appended: "Future[None]") -> None:
            error = appended.exception()
            done.set_exception(error) if error else done.set_result(None)

        def on_found(search: "Future[None]") -> None:
            error = search.exception()
            if error:
                done.set_exception(error)
                return
            try:
                self._append(values, headers, arrived_ms).add_done_callback(sent)
            except MeterportError as refused:
                done.set_exception(refused)

        self._find_topic().add_done_callback(on_found)
        return done

    def _find_topic(self) -> "Future[None]":
        """Search for the topic of events in a separate thread, one search for all who wait."""
        with self._search_lock:
            if self._topic_search is None or self._topic_search.done():
                self._topic_search = search = _running_future()

                def find() -> None:
                    try:
                        self._ensure_topic(self._settings.topic)
                    except Exception as error:
                        self.appends.failed(str(error))
                        search.set_exception(error)
                    else:
                        search.set_result(None)

                threading.Thread(target=find, name="kafka-topic", daemon=True).start()
            return self._topic_search

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """See `DeadLetterSink.send`. A letter is sent as the original record, with headers for its position and reason.

        A record that is too large for the topic is sent without its value and its own headers: the store has them.
        """
        topic = self._settings.dead_letter_topic
        assert topic is not None  # noqa: S101 - nobody calls this without such a topic
        self._ensure_topic(topic)
        sent = [self._send(topic, [_as_record(letter, self._settings.topic)], 0) for letter in letters]
        for letter, done in zip(letters, sent, strict=True):
            try:
                done.result()
            except TooLarge:  # this record, or another one sent in the same request
                self._send_alone(topic, letter)

    def _send_alone(self, topic: str, letter: DeadLetter) -> None:
        try:
            self._send(topic, [_as_record(letter, self._settings.topic)], 0).result()
        except TooLarge:
            logger.warning("dead_letter_cut partition=%d offset=%d", letter.record.partition, letter.record.offset)
            bare = letter._replace(record=letter.record._replace(value=None, headers=None))
            self._send(topic, [_as_record(bare, self._settings.topic)], 0).result()

    def _ensure_topic(self, topic: str) -> None:
        if topic not in self._topics:
            ensure_topic(self._settings, topic, min(ANSWER_TIMEOUT_SECONDS, self._settings.produce_seconds))
            self._topics.add(topic)

    def _send(
        self, topic: str, records: Sequence[tuple[bytes | None, str | None, Headers]], timestamp_ms: int
    ) -> "Future[None]":
        producer = self._producer
        if len(producer) + len(records) > _QUEUE_RECORDS:
            self.appends.failed("too many events wait for the brokers")
            raise LogFull(f"{len(producer)} events wait for the brokers already")
        delivery = _Delivery(len(records), self.appends)
        for value, key, headers in records:
            try:
                producer.produce(
                    topic, value, key, headers=list(headers), timestamp=timestamp_ms, on_delivery=delivery.on_delivery
                )
            except BufferError:
                delivery.on_delivery(KafkaError(KafkaError._QUEUE_FULL), None)
            except KafkaException as exception:
                delivery.on_delivery(exception.args[0], None)
        return delivery.done

    def _serve(self) -> None:
        while not self._closing.is_set() or len(self._producer):
            self._producer.poll(_POLL_SECONDS)
            if self._known_brokers.forgotten:
                self._replace_producer()

    def _replace_producer(self) -> None:
        """Replace a producer that knows no broker any more. Its undelivered events are refused."""
        forgetful = self._producer
        logger.error("producer_renewed undelivered=%d", len(forgetful))
        self._producer, self._known_brokers = connect_watched(
            Producer, self._settings, _producer_options(self._settings)
        )
        forgetful.purge()
        deadline = time.monotonic() + _PURGE_SECONDS
        while len(forgetful) and time.monotonic() < deadline:
            forgetful.poll(_POLL_SECONDS)

    def close(self) -> None:
        """Wait for what was sent, as long as its delivery may take, then end."""
        self._closing.set()
        self.thread.join()


def _running_future() -> "Future[None]":
    """Return a future that cannot be cancelled: several callers may wait for it."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()
    return future


def _to_error(error: KafkaError) -> MeterportError:
    if error.code() in _TOO_LARGE:
        return TooLarge(f"an event is larger than the brokers accept: {error.str()}")
    if error.code() == KafkaError._QUEUE_FULL:
        return LogFull("too many bytes wait for the brokers already")
    return LogUnavailable(f"Kafka: producing: {error.str()} ({error.name()})")


def _as_record(letter: DeadLetter, topic: str) -> tuple[bytes | None, None, Headers]:
    origin = letter.record
    position = f"{topic}:{origin.partition}:{origin.offset}"
    headers: Headers = [
        *(origin.headers or ()),
        ("meterport-reason", letter.reason[:_REASON_CHARACTERS].encode("utf-8", "replace")),
        ("meterport-position", position.encode()),
    ]
    return origin.value, None, headers


def _producer_options(settings: KafkaSettings) -> Options:
    return {
        # With idempotence, librdkafka reports a refused event as sent if the broker accepts the next request (R3).
        "enable.idempotence": False,
        "acks": "all",
        "partitioner": "murmur2_random",  # the choice of Java producers, so that a subject has one partition
        "delivery.timeout.ms": round(settings.produce_seconds * 1000),
        "linger.ms": 1,  # a batch is sent at once: its producer waits
        "queue.buffering.max.messages": _QUEUE_RECORDS,
        "queue.buffering.max.kbytes": 256 << 10,
        "message.max.bytes": 64 << 20,  # the brokers' own limit decides what is too large
    }
