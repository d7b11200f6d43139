"""Connections to the brokers: options, errors, and topics made when they are missing.

Owns: what every client of ours asks of librdkafka; the driver's errors, records and log lines → ours.
Source: librdkafka CONFIGURATION.md.
"""

import contextlib
import logging
import operator
import re
from collections.abc import Callable, Iterator, Set
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic  # admin only imports it, says mypy

from engine.config.kafka_settings import KafkaSettings
from engine.errors import ConfigurationError, LogFailed, LogUnavailable
from engine.instants import LAST_MS
from engine.logging_setup import SaidOnce
from ingest.event_log import Headers, Record

_T = TypeVar("_T")
logger = logging.getLogger(__name__)
driver_logger = logging.getLogger("kafka")  # what librdkafka has to say
ANSWER_SECONDS = 10
QUEUE_BYTES = 32 << 20
FETCH_BYTES = 4 << 20  # as brokers have them: compressed
# confluent-kafka returns a list with a hole and an error for a name it cannot decode. Python sees that here, where the
# caller is C; where it is an opcode grown quick, it goes on with the hole and dies of it.
_ask_headers = operator.methodcaller("headers")
_NAMED_OPTION = re.compile(r'property[: ]+"([^"]+)"|\b([a-z0-9.]+\.[a-z0-9.]+) failed\b')
_UNKNOWN_OPTION = "No such configuration property"
_ANSWERS = frozenset({KafkaError.TOPIC_ALREADY_EXISTS})
_UNSUPPORTED = frozenset({KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE})
# by the newer protocol a client that hears one of these is at its end, though the group may take in another one later
_NOT_TAKEN_IN = frozenset(
    {KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.GROUP_MAX_SIZE_REACHED, KafkaError.UNRELEASED_INSTANCE_ID}
)

Options = dict[str, Any]


class NotTakenIn(LogUnavailable):
    """The group refuses its member for now, and this client does not ask again: another one has to."""


def client_options(settings: KafkaSettings, own: Options) -> Options:
    """Return the configuration of a client: the settings', then `own`, then what the user passes through."""
    given: Options = {
        "bootstrap.servers": settings.brokers,
        "client.id": "meterport",
        "security.protocol": settings.security_protocol,
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_username,
        "sasl.password": settings.sasl_password and settings.sasl_password.get_secret_value(),
        "ssl.ca.location": settings.ssl_ca_location,
        "ssl.certificate.location": settings.ssl_certificate_location,
        "ssl.key.location": settings.ssl_key_location,
        "ssl.key.password": settings.ssl_key_password and settings.ssl_key_password.get_secret_value(),
        "reconnect.backoff.max.ms": 1000,  # 10,000 by default: so long a broker that is back would be waited for
        "socket.timeout.ms": 10_000,
        "topic.metadata.refresh.interval.ms": 30_000,  # how soon partitions that were added are seen
        "logger": driver_logger,
        "error_cb": log_error,
    }
    known = {name: value for name, value in given.items() if value is not None}
    return {**known, **own, **{name: value.get_secret_value() for name, value in settings.options.items()}}


def reading_options(settings: KafkaSettings, protocol: str) -> Options:
    """Return the configuration of a consumer, for `client_options`."""
    own: Options = {
        "group.id": settings.group,
        "group.protocol": protocol,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # a gap is told, not skipped
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "queued.max.messages.kbytes": QUEUE_BYTES >> 10,
        "fetch.max.bytes": FETCH_BYTES,
        "fetch.queue.backoff.ms": 20,  # 1000 by default: the queue would run dry while it waits
    }
    return own | ({"partition.assignment.strategy": "cooperative-sticky"} if protocol == "classic" else {})


def connect(client: Callable[[Options], _T], options: Options) -> _T:
    """Return a client; it looks for brokers by itself. Raises: ConfigurationError: librdkafka refuses an option.

    What librdkafka says quotes the value, which may be a secret: only the option's name is repeated, never its words.
    """
    try:
        return client(options)
    except KafkaException as exception:
        said = exception.args[0].str()
        named = _NAMED_OPTION.search(said)
        name = named[1] or named[2] if named else None
        if name not in options:
            raise ConfigurationError("kafka.options: librdkafka refuses these options") from None
        if _UNKNOWN_OPTION in said:
            raise ConfigurationError(f"kafka.options: librdkafka knows no option {name}") from None
        raise ConfigurationError(f"kafka.options: librdkafka refuses the value of {name}") from None
    except (TypeError, ValueError):  # a value with a NUL, or one the binding refuses by itself
        raise ConfigurationError("kafka.options: librdkafka refuses these options") from None


driver_logger.addFilter(SaidOnce())


def log_error(error: KafkaError) -> None:
    """Log an error of a client as a whole; the client mends itself."""
    driver_logger.warning("kafka_client_error code=%s error=%s", error.name(), error.str())


@contextlib.contextmanager
def kafka_errors(doing: str) -> Iterator[None]:
    """Turn the driver's errors into ours. Raises: LogUnavailable; NotTakenIn; LogFailed: a new process is needed."""
    try:
        yield
    except KafkaException as exception:
        raise as_ours(exception.args[0], doing) from exception


def as_ours(error: KafkaError, doing: str) -> LogUnavailable | LogFailed:
    """Return the error of ours for one of the driver's."""
    message = f"Kafka: {doing}: {error.str()} ({error.name()})"
    if not is_fatal(error):
        return LogUnavailable(message)
    return NotTakenIn(message) if _says(error, _NOT_TAKEN_IN) else LogFailed(message)


def is_fatal(error: KafkaError) -> bool:
    """Whether a client can do nothing more after an error: an exception says it one way, an event the other."""
    return error.fatal() or error.code() == KafkaError._FATAL


def is_refused_by_group(error: KafkaError) -> bool:
    """Whether we lack the right to be a member of the group."""
    return _says(error, {KafkaError.GROUP_AUTHORIZATION_FAILED})


def is_unsupported(error: KafkaError) -> bool:
    """Whether the brokers do not know a request."""
    return _says(error, _UNSUPPORTED)


def _says(error: KafkaError, codes: Set[int]) -> bool:
    """Whether an error has one of these codes; of a fatal error's only its text tells."""
    return error.code() in codes or (
        error.code() == KafkaError._FATAL and any(KafkaError(code).str() in error.str() for code in codes)
    )


def as_record(message: Message) -> Record:
    """Return the record of ours for a message that is no error.

    Its timestamp is a claim of its producer or broker, put into the years that calendars have; -1, which is none, is 0.
    Whether it can be the arrival is judged in ingest/arrivals.py.
    """
    sent_ms = message.timestamp()[1]
    if not 0 <= sent_ms <= LAST_MS:
        sent_ms = min(max(0, sent_ms), LAST_MS)
    return Record(message.partition(), message.offset(), sent_ms, message.value(), _headers(message))  # type: ignore[arg-type] # of a record


def _headers(message: Message) -> Headers | None:
    """Return a record's headers; none of them can be had if the name of one is not UTF-8."""
    try:
        headers: Headers | None = _ask_headers(message)
    except (SystemError, UnicodeDecodeError) as error:
        place = message.topic(), message.partition(), message.offset()
        logger.warning("headers_not_read topic=%s partition=%s offset=%s error=%s", *place, error.__cause__ or error)
        return None
    return headers


def ensure_topic(settings: KafkaSettings, topic: str, seconds: float = ANSWER_SECONDS) -> int:
    """Create a topic if it is missing. Returns how many partitions it has. Raises: LogUnavailable.

    Args: seconds: how long brokers may take for an answer; there are two at most.
    """
    with kafka_errors(f"looking for topic {topic}"):
        admin = connect(AdminClient, client_options(settings, {}))
        found = admin.list_topics(timeout=seconds).topics.get(topic)
        if found is not None and found.error is None:
            return len(found.partitions)
        new = NewTopic(topic, settings.partitions, settings.replication_factor)
        try:
            admin.create_topics([new], operation_timeout=seconds)[topic].result(seconds)
        except TimeoutError:
            raise LogUnavailable(f"Kafka: creating topic {topic}: no answer in {seconds} s") from None
        except KafkaException as exception:
            if exception.args[0].code() not in _ANSWERS:
                raise
        else:
            logger.info("topic_created topic=%s partitions=%d", topic, settings.partitions)
        return settings.partitions
