"""Connections to the brokers: options, errors, and creating a topic that is missing.

Owns: the options that every client of Meterport gives to librdkafka; the conversion of the driver's errors, records and
log lines into those of Meterport.
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
from confluent_kafka.cimpl import NewTopic  # mypy: confluent_kafka.admin does not export it

from engine.config.kafka_settings import KafkaSettings
from engine.errors import ConfigurationError, LogFailed, LogUnavailable
from engine.instants import LAST_MS
from engine.logging_setup import OncePerMinute
from ingest.event_log import Headers, Record

_T = TypeVar("_T")
logger = logging.getLogger(__name__)
driver_logger = logging.getLogger("kafka")  # the log lines of librdkafka
ANSWER_TIMEOUT_SECONDS = 10
QUEUE_BYTES = 32 << 20
FETCH_BYTES = 4 << 20  # compressed bytes, as the brokers store them
# For a header name that is not UTF-8, confluent-kafka returns a list with a NULL item and an exception set. A
# specialised CALL opcode of CPython misses the exception and crashes; calling through methodcaller raises it.
_call_headers = operator.methodcaller("headers")
_NAMED_OPTION = re.compile(r'property[: ]+"([^"]+)"|\b([a-z0-9.]+\.[a-z0-9.]+) failed\b')
_UNKNOWN_OPTION = "No such configuration property"
_ALREADY_EXISTS = frozenset({KafkaError.TOPIC_ALREADY_EXISTS})
_UNSUPPORTED = frozenset({KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE})
# With the newer protocol, a client that gets one of these errors cannot go on, though the group may accept another
# client later.
_MEMBERSHIP_REFUSED = frozenset(
    {KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.GROUP_MAX_SIZE_REACHED, KafkaError.UNRELEASED_INSTANCE_ID}
)

Options = dict[str, Any]


class MembershipRefused(LogUnavailable):
    """The group refuses its member for now. This client does not try again: a new client has to."""


def client_options(settings: KafkaSettings, own: Options) -> Options:
    """Return the configuration of a client: common options, then `own`, then the setting `kafka.options`.

    Later options replace earlier ones.
    """
    common: Options = {
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
        "reconnect.backoff.max.ms": 1000,  # default 10,000: so long it could take until a broker that is back is used
        "socket.timeout.ms": 10_000,
        "topic.metadata.refresh.interval.ms": 30_000,  # how soon added partitions are noticed
        "logger": driver_logger,
        "error_cb": log_error,
    }
    known = {name: value for name, value in common.items() if value is not None}
    return {**known, **own, **{name: value.get_secret_value() for name, value in settings.options.items()}}


def consumer_options(settings: KafkaSettings, protocol: str) -> Options:
    """Return the configuration of a consumer, for `client_options`."""
    own: Options = {
        "group.id": settings.group,
        "group.protocol": protocol,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # a gap must be reported, not skipped
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "queued.max.messages.kbytes": QUEUE_BYTES >> 10,
        "fetch.max.bytes": FETCH_BYTES,
        "fetch.queue.backoff.ms": 20,  # default 1000: the queue would run empty during the wait
    }
    return own | ({"partition.assignment.strategy": "cooperative-sticky"} if protocol == "classic" else {})


def connect(client: Callable[[Options], _T], options: Options) -> _T:
    """Return a client, which connects in the background. Raises: ConfigurationError: librdkafka refuses an option.

    The message of librdkafka quotes the value, which may be a secret. So only the option's name is repeated, nothing
    else.
    """
    try:
        return client(options)
    except KafkaException as exception:
        text = exception.args[0].str()
        named = _NAMED_OPTION.search(text)
        name = named[1] or named[2] if named else None
        if name not in options:
            raise ConfigurationError("kafka.options: librdkafka refuses these options") from None
        if _UNKNOWN_OPTION in text:
            raise ConfigurationError(f"kafka.options: librdkafka knows no option {name}") from None
        raise ConfigurationError(f"kafka.options: librdkafka refuses the value of {name}") from None
    except (TypeError, ValueError):  # a value with a NUL, or one that the Python binding itself refuses
        raise ConfigurationError("kafka.options: librdkafka refuses these options") from None


driver_logger.addFilter(OncePerMinute())


def log_error(error: KafkaError) -> None:
    """Log an error that concerns a client as a whole; the client recovers by itself."""
    driver_logger.warning("kafka_client_error code=%s error=%s", error.name(), error.str())


@contextlib.contextmanager
def kafka_errors(action: str) -> Iterator[None]:
    """Convert the driver's errors. Raises: LogUnavailable, MembershipRefused, LogFailed (a new process is needed)."""
    try:
        yield
    except KafkaException as exception:
        raise to_meterport_error(exception.args[0], action) from exception


def to_meterport_error(error: KafkaError, action: str) -> LogUnavailable | LogFailed:
    """Return the Meterport error for an error of the driver."""
    message = f"Kafka: {action}: {error.str()} ({error.name()})"
    if not is_fatal(error):
        return LogUnavailable(message)
    return MembershipRefused(message) if _has_code(error, _MEMBERSHIP_REFUSED) else LogFailed(message)


def is_fatal(error: KafkaError) -> bool:
    """Return whether a client is unusable after an error: exceptions mark this as fatal(), events by their code."""
    return error.fatal() or error.code() == KafkaError._FATAL


def is_refused_by_group(error: KafkaError) -> bool:
    """Return whether this process lacks the right to be a member of the group."""
    return _has_code(error, {KafkaError.GROUP_AUTHORIZATION_FAILED})


def is_unsupported(error: KafkaError) -> bool:
    """Return whether the brokers do not support a request."""
    return _has_code(error, _UNSUPPORTED)


def _has_code(error: KafkaError, codes: Set[int]) -> bool:
    """Return whether an error has one of these codes. Of a fatal error only the text says which it is."""
    return error.code() in codes or (
        error.code() == KafkaError._FATAL and any(KafkaError(code).str() in error.str() for code in codes)
    )


def as_record(message: Message) -> Record:
    """Return the record for a message that is not an error.

    Its timestamp comes from its producer or broker. It is limited to the years that calendars have; -1, which means
    none, becomes 0. Whether it can be the arrival is judged in ingest/arrival_times.py.
    """
    sent_ms = message.timestamp()[1]
    if not 0 <= sent_ms <= LAST_MS:
        sent_ms = min(max(0, sent_ms), LAST_MS)
    return Record(message.partition(), message.offset(), sent_ms, message.value(), _headers(message))  # type: ignore[arg-type] # of a record


def _headers(message: Message) -> Headers | None:
    """Return a record's headers. If the name of one is not UTF-8, none of them can be read: None."""
    try:
        headers: Headers | None = _call_headers(message)
    except (SystemError, UnicodeDecodeError) as error:
        position = message.topic(), message.partition(), message.offset()
        logger.warning("headers_not_read topic=%s partition=%s offset=%s error=%s", *position, error.__cause__ or error)
        return None
    return headers


def ensure_topic(settings: KafkaSettings, topic: str, seconds: float = ANSWER_TIMEOUT_SECONDS) -> int:
    """Create a topic if it is missing. Returns its number of partitions. Raises: LogUnavailable.

    Args: seconds: how long the brokers may take for an answer; at most two answers are waited for.
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
            if exception.args[0].code() not in _ALREADY_EXISTS:
                raise
        else:
            logger.info("topic_created topic=%s partitions=%d", topic, settings.partitions)
        return settings.partitions
