"""Asks the brokers regularly whether they answer, and whether this process has the rights it needs.

Owns: one admin client, and a request about our topics every few seconds. librdkafka reports a refusal only once and
then goes on silently. When asked with "authorized operations", the brokers list the rights of this process, so a
missing right is seen for as long as it is missing. A broker that does not list them (null, or an empty list) is not
judged.
The group is not queried here: a request to its coordinator that is not answered in time aborts the whole process
(librdkafka issue 4605). The log itself notices when the group refuses it (ingest/kafka/log.py).
Source: KIP-430 (authorized operations in Describe responses); Kafka "Authorization", where READ and WRITE imply
DESCRIBE.
"""

from collections.abc import Iterable, Iterator, Set
from concurrent.futures import Future
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._topic import TopicDescription

from engine import metrics
from engine.config.kafka_settings import KafkaSettings
from engine.errors import LogUnavailable
from engine.health import Ability, Pulse
from ingest.kafka.client import kafka_errors, log_error
from ingest.kafka.known_brokers import connect_watched


class Missing(NamedTuple):
    """A right that this process lacks, such as "Write on topic events", and the ability that needs it."""

    ability: Ability
    right: str


class BrokerProbe:
    """The probe of one process, used by one thread. `produces`, `consumes`: what the process does with the topic."""

    def __init__(self, settings: KafkaSettings, produces: bool, consumes: bool, seconds: float) -> None:
        """Args: seconds: how long the brokers may take for an answer."""
        self.pulse = Pulse()
        self.answered = False  # whether the brokers have answered all questions once
        self.missing: tuple[Missing, ...] = ()
        self.leaderless: tuple[int, ...] = ()  # partitions of the topic that nobody can write to or read
        self._allowed = Pulse()  # when no right was missing
        self._leaders = Pulse()  # when each partition had a leader
        self._seconds = seconds
        self._rights = _topics(settings, produces, consumes)
        self._topic = settings.topic
        self._topic_exists = False
        self._last_error = ""
        self._settings = settings
        self._connect()

    @property
    def silence_reason(self) -> str:
        """The reason why the brokers may be silent, with the client's last error."""
        return "the brokers do not answer" + (f" ({self._last_error})" if self._last_error else "")

    def _connect(self) -> None:
        own = {"error_cb": self._note_error}
        self._admin, self._known_brokers = connect_watched(AdminClient, self._settings, own)

    def _note_error(self, error: KafkaError) -> None:
        self._last_error = error.name()
        log_error(error)

    def ask(self) -> None:
        """Ask the brokers once. Raises: LogUnavailable: no answer."""
        with kafka_errors("probing the brokers"):
            self._admin.poll(0)  # reports the client's errors to `_note_error`, and which brokers it knows
            if self._known_brokers.forgotten:
                self._connect()
            # If a missing topic is requested by name, brokers may create it, with their own number of partitions.
            listed = self._admin.list_topics(self._topic if self._topic_exists else None, timeout=self._seconds)
            topic = listed.topics.get(self._topic)
            self._topic_exists = topic is not None and topic.error is None
            self._last_error = ""
            self.pulse.succeeded()
            partitions = topic.partitions.values() if topic and self._topic_exists else ()
            self.leaderless = tuple(sorted(partition.id for partition in partitions if partition.leader < 0))
            if not self.leaderless:
                self._leaders.succeeded()
            self.missing = tuple(self._find_missing())
        self.answered = True
        if not self.missing:
            self._allowed.succeeded()
        for missed in self.missing:
            metrics.KAFKA_REFUSALS.labels(missed.right).inc()

    @property
    def refused_seconds(self) -> float:
        """How many seconds ago no right was missing."""
        return self._allowed.silent_seconds

    @property
    def leaderless_seconds(self) -> float:
        """How many seconds ago each partition had a leader; 0 if each had one when the brokers last answered."""
        return self._leaders.silent_seconds if self.leaderless else 0

    def _find_missing(self) -> Iterator[Missing]:
        asked = self._admin.describe_topics(
            TopicCollection(list(self._rights)), include_authorized_operations=True, request_timeout=self._seconds
        )
        for name, rights in self._rights.items():
            granted = self._granted(asked[name])
            for right, use in rights.items():
                if granted is not None and not granted & {right.upper(), "ALL"}:
                    yield Missing(use, f"{right} on topic {name}")

    def _granted(self, asked: "Future[TopicDescription]") -> Set[str] | None:
        """Return the rights this process has on a topic; None if the brokers do not report them."""
        try:
            described = asked.result(2 * self._seconds)
        except TimeoutError:
            raise LogUnavailable(f"Kafka: no answer in {2 * self._seconds:g} s") from None
        except KafkaException as exception:
            if exception.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                return frozenset()
            if exception.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None  # the process that needs the topic creates it
            raise
        return {operation.name for operation in described.authorized_operations or ()} or None


def _topics(settings: KafkaSettings, produces: bool, consumes: bool) -> dict[str, dict[str, Ability]]:
    """Return the topics, the rights that are needed on each, and the ability that needs each right."""
    reading = {"Read": Ability.INGEST} if consumes else {}
    writing = {"Write": Ability.EVENTS} if produces else {}
    wanted = {settings.topic: {**reading, **writing}}
    if consumes and settings.dead_letter_topic:
        wanted[settings.dead_letter_topic] = {"Write": Ability.INGEST}
    return wanted


def describe_missing_rights(rights: Iterable[str]) -> str:
    """Return the message about missing rights."""
    return "the brokers refuse this process: it lacks " + ", ".join(rights)
