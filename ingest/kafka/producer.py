"""Events to the topic: what came over HTTP is durable on the brokers before it is answered.

Owns: one idempotent producer with acks=all, the key of a record (the event's subject), and the wait for every delivery
report of a batch. Safe to repeat: an event that was sent twice is counted once (docs/design.md R10).
Source: docs/design.md R3, R4; CloudEvents Kafka protocol binding 1.0.2.
"""

import logging
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from engine.config.kafka_settings import KafkaSettings
from engine.errors import LogFull, LogUnavailable, MeterportError, TooLarge, Unavailable
from engine.health import Pulse
from engine.logging_setup import SaidOnce
from ingest.dead_letters import DeadLetter
from ingest.event_log import Headers
from ingest.kafka.client import ANSWER_SECONDS, Options, client_options, connect, ensure_topic, is_fatal

logger = logging.getLogger(__name__)
logger.addFilter(SaidOnce())  # brokers may refuse each new producer, too
_POLL_SECONDS = 0.1
_RENEW_SECONDS = 1  # between two new producers
_QUEUE_RECORDS = 1_000_000
_REASON_CHARACTERS = 1000  # a reason may quote the record
_STRUCTURED: Headers = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_MSG_SIZE})


class _Keyed(msgspec.Struct):
    subject: str


_key_decoder = msgspec.json.Decoder(_Keyed)


class _Batch:
    """Counts the delivery reports of one batch and then settles its future."""

    def __init__(self, size: int, appends: Pulse) -> None:
        """Args: appends: is told how it went."""
        self.done = _begun()
        self._appends = appends
        self._counting = threading.Lock()
        self._left = size
        self._error: MeterportError | None = None
        if not size:
            self.done.set_result(None)

    def reported(self, error: KafkaError | None, _: Message | None) -> None:
        with self._counting:
            if error is not None:
                self._error = self._error or _refusal(error)
            self._left -= 1
            if self._left:
                return
        if self._error:
            if isinstance(self._error, Unavailable):
                self._appends.failed(str(self._error))
            self.done.set_exception(self._error)
        else:
            self._appends.succeeded()
            self.done.set_result(None)


class KafkaProducer:
    """An `EventAppender` and a `DeadLetterSink`. Thread-safe. One thread of its own serves the delivery reports."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self.appends = Pulse()  # when brokers last took a batch, and since when they take none
        self._producer = connect(Producer, client_options(settings, _writing(settings)))
        self._renewing = threading.Lock()
        self._renewed_at = -math.inf  # monotonic seconds
        self._refused: Producer | None = None  # the brokers will not let it go on
        self._topics: set[str] = set()  # known to exist
        self._looking = threading.Lock()
        self._look: Future[None] | None = None  # for the topic of events
        self._closing = threading.Event()
        self.thread = threading.Thread(target=self._serve, name="kafka-producer", daemon=True)
        self.thread.start()

    def append(self, values: Sequence[bytes], arrived_ms: int) -> "Future[None]":
        """See `EventAppender.append`."""
        if self._settings.topic not in self._topics:
            return self._append_later(values, arrived_ms)
        return self._send(
            self._settings.topic,
            [(value, _key_decoder.decode(value).subject, _STRUCTURED) for value in values],
            arrived_ms,
        )

    def _append_later(self, values: Sequence[bytes], arrived_ms: int) -> "Future[None]":
        """Append once the topic is known to be there: the caller does not wait."""
        done = _begun()

        def sent(appended: "Future[None]") -> None:
            error = appended.exception()
            done.set_exception(error) if error else done.set_result(None)

        def looked(look: "Future[None]") -> None:
            error = look.exception()
            if error:
                done.set_exception(error)
                return
            try:
                self.append(values, arrived_ms).add_done_callback(sent)
            except MeterportError as refused:
                done.set_exception(refused)

        self._look_for_topic().add_done_callback(looked)
        return done

    def _look_for_topic(self) -> "Future[None]":
        """Look for the topic of events in a thread of its own, one for all who wait."""
        with self._looking:
            if self._look is None or self._look.done():
                self._look = look = _begun()

                def find() -> None:
                    try:
                        self._find(self._settings.topic)
                    except Exception as error:
                        self.appends.failed(str(error))
                        look.set_exception(error)
                    else:
                        look.set_result(None)

                threading.Thread(target=find, name="kafka-topic", daemon=True).start()
            return self._look

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """See `DeadLetterSink.send`. A record as it was, with headers that say where it stood and what was wrong.

        One that is too large for the topic goes there without its value and its own headers: the store has them.
        """
        topic = self._settings.dead_letter_topic
        assert topic is not None  # noqa: S101 - else nobody calls
        self._find(topic)
        sent = [self._send(topic, [_as_record(letter, self._settings.topic)], 0) for letter in letters]
        for letter, done in zip(letters, sent, strict=True):
            try:
                done.result()
            except TooLarge:  # or one it was sent together with is
                self._send_alone(topic, letter)

    def _send_alone(self, topic: str, letter: DeadLetter) -> None:
        try:
            self._send(topic, [_as_record(letter, self._settings.topic)], 0).result()
        except TooLarge:
            logger.warning("dead_letter_cut partition=%d offset=%d", letter.record.partition, letter.record.offset)
            bare = letter._replace(record=letter.record._replace(value=None, headers=None))
            self._send(topic, [_as_record(bare, self._settings.topic)], 0).result()

    def _find(self, topic: str) -> None:
        if topic not in self._topics:
            ensure_topic(self._settings, topic, min(ANSWER_SECONDS, self._settings.produce_seconds))
            self._topics.add(topic)

    def _send(
        self, topic: str, records: Sequence[tuple[bytes | None, str | None, Headers]], timestamp_ms: int
    ) -> "Future[None]":
        producer = self._producer
        if len(producer) + len(records) > _QUEUE_RECORDS:
            self.appends.failed("too many events wait for the brokers")
            raise LogFull(f"{len(producer)} events wait for the brokers already")
        batch = _Batch(len(records), self.appends)
        for value, key, headers in records:
            try:
                producer.produce(
                    topic, value, key, headers=list(headers), timestamp=timestamp_ms, on_delivery=batch.reported
                )
            except BufferError:
                batch.reported(KafkaError(KafkaError._QUEUE_FULL), None)
            except KafkaException as exception:
                batch.reported(exception.args[0], None)
                if is_fatal(exception.args[0]):
                    self._refused = producer  # its thread replaces it: whoever sends does not wait
        return batch.done

    def _renew(self, dead: Producer) -> None:
        """Replace a producer the brokers will not let go on, once a second; what it had not delivered is refused."""
        with self._renewing:
            if self._producer is dead and time.monotonic() - self._renewed_at >= _RENEW_SECONDS:
                logger.error("producer_renewed undelivered=%d", len(dead))
                self._renewed_at = time.monotonic()
                self._producer = connect(Producer, client_options(self._settings, _writing(self._settings)))
                dead.purge()
                deadline = time.monotonic() + 1
                while len(dead) and time.monotonic() < deadline:
                    self._poll(dead)

    def _serve(self) -> None:
        while not self._closing.is_set() or len(self._producer):
            producer = self._producer
            self._poll(producer)
            if self._refused is producer:
                self._renew(producer)

    def _poll(self, producer: Producer) -> None:
        """Serve delivery reports; an error that ends the producer comes out here, too, without any event sent."""
        try:
            producer.poll(_POLL_SECONDS)
        except KafkaException as exception:
            logger.warning("producer_failed error=%s", exception.args[0].str())
            if is_fatal(exception.args[0]):
                self._refused = producer

    def close(self) -> None:
        """Wait for what was sent, at most as long as it may take, then end."""
        self._closing.set()
        self.thread.join()


def _begun() -> "Future[None]":
    """Return a future that cannot be cancelled: others may wait for the same."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()
    return future


def _refusal(error: KafkaError) -> MeterportError:
    if error.code() in _TOO_LARGE:
        return TooLarge(f"an event is larger than the brokers take: {error.str()}")
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


def _writing(settings: KafkaSettings) -> Options:
    return {
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",  # as producers in Java choose, so that a subject has one partition
        "delivery.timeout.ms": round(settings.produce_seconds * 1000),
        "linger.ms": 1,  # a batch is sent as it comes: its producer waits
        "queue.buffering.max.messages": _QUEUE_RECORDS,
        "queue.buffering.max.kbytes": 256 << 10,
        "message.max.bytes": 64 << 20,  # the brokers' own limit says what is too large
    }
