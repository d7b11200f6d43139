"""The checks of the Kafka brokers: do they answer, do they accept this user, and may it do what a process does?

Owns: the checks in their order, and their messages. Nothing is produced, committed or created, and no group is joined.
Source: docs/operations.md "Kafka"; docs/settings.md "TLS and SASL" (rights).
"""

import ssl
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import BrokerMetadata, ClusterMetadata, TopicMetadata
from confluent_kafka.cimpl import NewTopic  # mypy: confluent_kafka.admin does not export it

from engine.config.kafka_settings import KafkaSettings
from engine.errors import LogUnavailable
from engine.health import Ability
from ingest.kafka.client import client_options, connect, kafka_errors
from ingest.kafka.group_question import GroupAnswer, ask_group
from ingest.kafka.probe import BrokerProbe
from meterport.doctor import network
from meterport.doctor.report import Check, Fault, Warn

SECONDS = 10  # how long brokers may take for an answer
ADDRESSES, BROKERS, TOPIC, DEAD_LETTER_TOPIC = "kafka addresses", "kafka brokers", "kafka topic", "dead letter topic"
LEADERS, RIGHTS, GROUP = "kafka leaders", "kafka rights", "kafka group"
_DEFAULT_PORT = 9092
_DECISIVE = {KafkaError._AUTHENTICATION, KafkaError._SSL}  # another attempt does not help
_USES = {Ability.EVENTS: "events over HTTP", Ability.INGEST: "ingest", Ability.QUERIES: "queries"}


@dataclass
class _Asking:
    """A client that is asked for what the cluster has, and the errors that it reports meanwhile."""

    settings: KafkaSettings
    errors: list[KafkaError] = field(default_factory=list)

    def client(self) -> AdminClient:
        own = {"bootstrap.servers": self.settings.brokers, "error_cb": self.errors.append, "log_level": 0}
        return connect(AdminClient, client_options(self.settings, own))

    def cluster(self, admin: AdminClient) -> ClusterMetadata:
        """Return the brokers and topics. Raises: KafkaException: no answer; `errors` may say why."""
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                return admin.list_topics(timeout=1)
            except KafkaException:
                admin.poll(0)
                if time.monotonic() > deadline or self.decisive:
                    raise

    @property
    def decisive(self) -> KafkaError | None:
        return next((error for error in self.errors if error.code() in _DECISIVE), None)


class BrokerChecks:
    """The checks of the brokers, the topics and the group. `produces`, `consumes`: what the process does."""

    def __init__(self, settings: KafkaSettings, produces: bool, consumes: bool) -> None:
        self.settings = settings
        self._produces, self._consumes = produces, consumes
        self._admin: AdminClient | None = None
        self._cluster = ClusterMetadata()
        self._reachable = False  # whether a broker is where it says
        self.group = GroupAnswer()
        self.topic_is_new = False  # the topic of events does not exist, and may be created

    def checks(self) -> Iterator[Check]:
        """Yield the checks in their order."""
        yield Check(ADDRESSES, self._check_addresses)
        yield Check(BROKERS, self._check_brokers, (ADDRESSES,))
        asked = (ADDRESSES,) if self._reachable else (BROKERS,)  # one broker that can be reached answers for all
        yield Check(TOPIC, lambda: self._check_topic(self.settings.topic, "kafka.topic"), asked)
        if self._consumes and self.settings.dead_letter_topic:
            yield Check(DEAD_LETTER_TOPIC, self._check_dead_letter_topic, asked)
        yield Check(RIGHTS, self._check_rights, asked)
        yield Check(LEADERS, self._check_leaders, (TOPIC,))
        if self._consumes:
            yield Check(GROUP, self._check_group, asked)

    @property
    def admin(self) -> AdminClient:
        """A client, once the addresses are checked."""
        assert self._admin is not None  # noqa: S101 - the checks that use it need the check that sets it
        return self._admin

    @property
    def first_broker(self) -> int:
        """The id of a broker."""
        return min(self._cluster.brokers)

    def topic(self, name: str) -> TopicMetadata | None:
        """Return a topic that exists and that this user may see."""
        found = self._cluster.topics.get(name)
        return found if found is not None and found.error is None else None

    def _check_addresses(self) -> str:
        addresses = [address.strip() for address in (self.settings.brokers or "").split(",") if address.strip()]
        with ThreadPoolExecutor(len(addresses)) as threads:
            answers = [*threads.map(self._ask, addresses)]
        faults = [answer for answer in answers if isinstance(answer, str)]
        clusters = [answer for answer in answers if not isinstance(answer, str)]
        if not clusters:
            raise Fault("; ".join(dict.fromkeys(faults)))
        self._cluster = clusters[0]
        self._admin = _Asking(self.settings).client()
        if faults:
            raise Warn(f"some cannot be used, the others answer: {'; '.join(faults)}")
        return f"{', '.join(addresses)}: a cluster of {len(self._cluster.brokers)} brokers answers"

    def _ask(self, address: str) -> ClusterMetadata | str:
        """Return what a broker at an address says about the cluster, or why it does not serve this user."""
        asking = _Asking(self.settings.model_copy(update={"brokers": address}))
        host, port = _host_and_port(address)
        try:
            network.connect(host, port, SECONDS, "kafka.brokers").close()
            return asking.cluster(asking.client())
        except Fault as fault:
            return str(fault)
        except KafkaException as exception:
            return self._explained(host, port, asking.decisive or [exception.args[0], *asking.errors][-1])

    def _explained(self, host: str, port: int, error: KafkaError) -> str:
        said = f"{error.str()} ({error.name()})"
        if error.code() == KafkaError._AUTHENTICATION:
            return f"kafka.sasl_username, kafka.sasl_password: {host}:{port} does not accept them: {said}"
        if self.settings.security_protocol.endswith("SSL"):
            try:
                context = ssl.create_default_context(cafile=self.settings.ssl_ca_location)
                with network.connect(host, port, SECONDS, "kafka.brokers") as connection:
                    network.check_tls(connection, host, context, "kafka.ssl_ca_location", "kafka.brokers")
            except Fault as fault:
                return str(fault)
            except OSError as failed:
                return f"kafka.ssl_ca_location: cannot use {self.settings.ssl_ca_location}: {failed}"
        return (
            f"kafka.brokers: {host}:{port} takes connections, but does not answer as a broker: start it again, or "
            f"correct kafka.security_protocol: {said}"
        )

    def _check_brokers(self) -> str:
        faults = [fault for broker in self._cluster.brokers.values() if (fault := _unreachable(broker))]
        self._reachable = len(faults) < len(self._cluster.brokers)
        if faults:
            raise Fault("; ".join(faults))
        return "each can be reached at the address that it advertises"

    def _check_dead_letter_topic(self) -> str:
        return self._check_topic(self.settings.dead_letter_topic or "", "kafka.dead_letter_topic")

    def _check_topic(self, name: str, setting: str) -> str:
        found = self.topic(name)
        if found:
            return f"{name} exists"
        with kafka_errors(f"looking for topic {name}"):
            asked = self.admin.describe_topics(TopicCollection([name]), request_timeout=SECONDS)[name]
            hidden = _refusal(asked)
            if hidden is not None and hidden.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise Fault(f"{setting}: {name} does not exist, or this user lacks Describe on it: grant the right")
            new = NewTopic(name, self.settings.partitions, self.settings.replication_factor)
            refused = _refusal(self.admin.create_topics([new], operation_timeout=SECONDS, validate_only=True)[name])
        if refused is not None:
            raise Fault(
                f"{setting}: {name} does not exist, and the brokers would not let this user create it "
                f'({refused.str().rstrip(".")}): create it (docs/operations.md "The topic"), or grant Create on it'
            )
        self.topic_is_new |= name == self.settings.topic
        return f"{name} does not exist; the first start creates it, with {self.settings.partitions} partitions"

    def _check_rights(self) -> str:
        probe = BrokerProbe(self.settings, self._produces, self._consumes, SECONDS)
        probe.ask()
        if probe.missing:
            uses = ", ".join(dict.fromkeys(_USES[missed.ability] for missed in probe.missing))
            raise Fault(
                f"this user lacks {', '.join(missed.right for missed in probe.missing)}, needed for {uses}: add ACLs "
                '(docs/settings.md "TLS and SASL")'
            )
        return "none is missing on the topics, as far as the brokers report them"

    def _check_leaders(self) -> str:
        topic = self.topic(self.settings.topic)
        if topic is None:
            return "no partitions yet"
        without = [partition.id for partition in topic.partitions.values() if partition.leader < 0]
        if without:
            raise Fault(
                f"partition {', '.join(map(str, sorted(without)))} of {self.settings.topic} has no leader: start the "
                "brokers that have its replicas"
            )
        return f"each of the {len(topic.partitions)} partitions has one"

    def _check_group(self) -> str:
        topic, group = self.topic(self.settings.topic), self.settings.group
        self.group = answer = ask_group(self.settings, len(topic.partitions) if topic else 0, SECONDS)
        if answer.failure:
            raise Warn(f"the brokers do not say whether this user may read as group {group}: {answer.failure}")
        if answer.unused:
            raise Warn(
                f"the cluster has no groups yet, and is therefore not asked whether this user may read as {group}"
            )
        if answer.granted is not None and not answer.granted & {"READ", "ALL"}:
            raise Fault(
                f"kafka.group: this user lacks Read on group {group}, needed for ingest: add an ACL "
                '(docs/settings.md "TLS and SASL")'
            )
        if answer.granted is None:
            return f"{group} is known; the brokers do not report the rights of this user"
        return f"this user may read as {group}"


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdecimal():
        host, port = address.rpartition("://")[2], str(_DEFAULT_PORT)
    return host.strip("[]"), int(port)


def _unreachable(broker: BrokerMetadata) -> str:
    """Return why a broker cannot be reached at the address that it advertises; "" if it can."""
    try:
        network.connect(
            broker.host or "", broker.port or 0, SECONDS, f"advertised.listeners of broker {broker.id}"
        ).close()
    except Fault as fault:
        return str(fault)
    return ""


def _refusal(asked: "Future[Any]") -> KafkaError | None:
    """Return the error with which the brokers answer, or None. Raises: KafkaException: they do not answer."""
    try:
        asked.result(2 * SECONDS)
    except KafkaException as exception:
        error: KafkaError = exception.args[0]
        if error.code() < 0:  # librdkafka's own errors
            raise
        return error
    except TimeoutError:
        raise LogUnavailable(f"Kafka: no answer in {2 * SECONDS} s") from None
    return None
