"""Connections to the brokers: options, errors, and topics made when they are missing.

Owns: what every client of ours asks of librdkafka, and driver errors → ours.
Source: librdkafka CONFIGURATION.md.
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic  # admin only imports it, says mypy

from engine.errors import LogFailed, LogUnavailable
from engine.settings import KafkaSettings

_log = logging.getLogger(__name__)
_driver_log = logging.getLogger("kafka")  # what librdkafka has to say
_ADMIN_SECONDS = 10
_ANSWERS = frozenset({KafkaError.TOPIC_ALREADY_EXISTS})

Options = dict[str, Any]


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
        "logger": _driver_log,
        "error_cb": _log_error,
    }
    known = {name: value for name, value in given.items() if value is not None}
    return {**known, **own, **{name: value.get_secret_value() for name, value in settings.options.items()}}


def _log_error(error: KafkaError) -> None:
    """Say what befell a client as a whole; it goes on by itself."""
    _log.warning("kafka_client_error code=%s error=%s", error.name(), error.str())


@contextlib.contextmanager
def kafka_errors(doing: str) -> Iterator[None]:
    """Turn the driver's errors into ours. Raises: LogUnavailable; LogFailed: a new client is needed."""
    try:
        yield
    except KafkaException as exception:
        raise as_ours(exception.args[0], doing) from exception


def as_ours(error: KafkaError, doing: str) -> LogUnavailable | LogFailed:
    """Return the error of ours for one of the driver's."""
    message = f"Kafka: {doing}: {error.str()} ({error.name()})"
    return LogFailed(message) if error.fatal() else LogUnavailable(message)


def ensure_topic(settings: KafkaSettings, topic: str) -> int:
    """Create a topic if it is missing. Returns how many partitions it has. Raises: LogUnavailable."""
    with kafka_errors(f"looking for topic {topic}"):
        admin = AdminClient(client_options(settings, {}))
        found = admin.list_topics(timeout=_ADMIN_SECONDS).topics.get(topic)
        if found is not None and found.error is None:
            return len(found.partitions)
        new = NewTopic(topic, settings.partitions, settings.replication_factor)
        try:
            admin.create_topics([new], operation_timeout=_ADMIN_SECONDS)[topic].result(_ADMIN_SECONDS)
        except KafkaException as exception:
            if exception.args[0].code() not in _ANSWERS:
                raise
        else:
            _log.info("topic_created topic=%s partitions=%d", topic, settings.partitions)
        return settings.partitions
