"""The checks of how the topic of events is configured.

Owns: the limits of docs/operations.md "The topic", and the messages about them. It only asks.
"""

from collections.abc import Iterator

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._metadata import PartitionMetadata
from confluent_kafka.admin._resource import ResourceType

from engine.config.settings import Settings
from engine.errors import LogUnavailable
from ingest.kafka.client import kafka_errors
from meterport.doctor.broker_checks import SECONDS, TOPIC, BrokerChecks
from meterport.doctor.report import Check, Fault, Warn

OPTIONS, PARTITIONS, REPLICAS, CLEANUP = "topic options", "topic partitions", "topic replicas", "topic cleanup.policy"
RETENTION, SIZE, MESSAGES = "topic retention.ms", "topic retention.bytes", "topic max.message.bytes"
TIMESTAMPS, ELECTION, OFFSETS = "topic message.timestamp.type", "topic elections", "offsets retention"
_DAY_MS = 86_400_000
_GOOD_RETENTION_DAYS = 7
_GOOD_MESSAGE_BYTES = 1 << 20
_GOOD_REPLICAS, _GOOD_IN_SYNC = 3, 2
_SEE = '(docs/operations.md "The topic")'
_REFUSED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}


class TopicChecks:
    """The checks of the topic of events, which `brokers` has found."""

    def __init__(self, settings: Settings, brokers: BrokerChecks) -> None:
        self._window_days = settings.ingest.duplicate_window_days
        self._name = settings.kafka.topic
        self._brokers = brokers
        self._options: dict[str, str] = {}
        self._unreadable = False

    def checks(self) -> Iterator[Check]:
        """Yield the checks of the topic in their order."""
        yield Check(OPTIONS, self._read_options, (TOPIC,))
        yield Check(PARTITIONS, self._check_partitions, (TOPIC,))
        if self._unreadable:
            return
        for name, run in {
            REPLICAS: self._check_replicas,
            CLEANUP: self._check_cleanup,
            RETENTION: self._check_retention,
            SIZE: self._check_size,
            MESSAGES: self._check_messages,
            TIMESTAMPS: self._check_timestamps,
            ELECTION: self._check_elections,
        }.items():
            yield Check(name, run, (OPTIONS,))
        yield Check(OFFSETS, self._check_offsets, (OPTIONS,))

    def _read_options(self) -> str:
        try:
            self._options = self._described(ResourceType.TOPIC, self._name)
        except _Refused:
            self._unreadable = True
            raise Warn(
                f"this user may not read the options of {self._name}, so they are not checked: grant DescribeConfigs "
                f"on it, or compare them yourself {_SEE}"
            ) from None
        return f"those of {self._name} can be read"

    def _described(self, kind: ResourceType, name: str) -> dict[str, str]:
        """Return the options of a topic or a broker. Raises: _Refused."""
        with kafka_errors(f"reading the options of {name}"):
            [asked] = self._brokers.admin.describe_configs(
                [ConfigResource(kind, name)], request_timeout=SECONDS
            ).values()
            try:
                found = asked.result(2 * SECONDS)
            except TimeoutError:
                raise LogUnavailable(f"Kafka: no answer in {2 * SECONDS} s") from None
            except KafkaException as exception:
                if exception.args[0].code() in _REFUSED:
                    raise _Refused from None
                raise
        return {option: entry.value for option, entry in found.items() if entry.value is not None}

    def _number(self, option: str) -> int:
        return int(self._options.get(option, "-1"))

    @property
    def _partitions(self) -> list[PartitionMetadata]:
        topic = self._brokers.topic(self._name)
        return list(topic.partitions.values()) if topic else []

    def _check_partitions(self) -> str:
        count = len(self._partitions)
        if count == 1:
            raise Warn(
                f"{self._name} has 1 partition, so only one ingest process can work: add partitions, as many as the "
                f"ingest processes you will ever want {_SEE}"
            )
        return f"{self._name} has {count}: at most {count} ingest processes share the work"

    def _check_replicas(self) -> str:
        replicas = min(len(partition.replicas) for partition in self._partitions)
        in_sync = min(len(partition.isrs) for partition in self._partitions)
        required = self._number("min.insync.replicas")
        if required > replicas:
            raise Fault(
                f"min.insync.replicas is {required}, but replication.factor is {replicas}: no event can be written; "
                f"lower min.insync.replicas, or add replicas {_SEE}"
            )
        if in_sync < required:
            raise Fault(
                f"only {in_sync} replicas of a partition are in sync, and {required} must be: start the brokers that "
                "have the other replicas"
            )
        if replicas < _GOOD_REPLICAS or required < _GOOD_IN_SYNC:
            raise Warn(
                f"replication.factor is {replicas} and min.insync.replicas is {required}: one broker that fails can "
                f"stop or lose events; use {_GOOD_REPLICAS} and {_GOOD_IN_SYNC} {_SEE}"
            )
        return f"replication.factor is {replicas}, min.insync.replicas is {required}"

    def _check_cleanup(self) -> str:
        policy = self._options.get("cleanup.policy", "")
        if "compact" in policy:
            raise Fault(
                f"it is {policy}: compaction deletes events that were not read yet, and Meterport cannot detect that; "
                f"set it to delete {_SEE}"
            )
        return policy

    def _check_retention(self) -> str:
        retention_ms = self._number("retention.ms")
        kept = "for ever" if retention_ms < 0 else f"for {_duration(retention_ms)}"
        if retention_ms < 0 or retention_ms >= self._window_days * _DAY_MS:
            raise Fault(
                f"records are kept {kept}, but ingest.duplicate_window_days is {self._window_days}: what is older "
                f"would count twice if it were read again; set retention.ms below the window {_SEE}"
            )
        if retention_ms < _GOOD_RETENTION_DAYS * _DAY_MS:
            raise Warn(
                f"records are kept {kept} only: events are lost if ingest is away for longer; set retention.ms to "
                f"{_GOOD_RETENTION_DAYS} days or more {_SEE}"
            )
        return f"records are kept {kept}, less than the {self._window_days} days of ingest.duplicate_window_days"

    def _check_size(self) -> str:
        size = self._number("retention.bytes")
        if size >= 0:
            raise Warn(
                f"a partition keeps only its last {size} bytes: events are lost if more arrive while ingest is away; "
                f"set retention.bytes to -1 {_SEE}"
            )
        return "no limit"

    def _check_messages(self) -> str:
        size = self._number("max.message.bytes")
        if size < _GOOD_MESSAGE_BYTES:
            raise Warn(f"it is {size}: larger events get 413; set it to {_GOOD_MESSAGE_BYTES} or more {_SEE}")
        return f"{size} bytes"

    def _check_timestamps(self) -> str:
        return self._options.get("message.timestamp.type", "")

    def _check_elections(self) -> str:
        if self._options.get("unclean.leader.election.enable") == "true":
            raise Warn(
                f"unclean.leader.election.enable is true: acknowledged events can be lost; set it to false {_SEE}"
            )
        return "only replicas that have every event may lead"

    def _check_offsets(self) -> str:
        broker = str(self._brokers.first_broker)
        try:
            minutes = int(self._described(ResourceType.BROKER, broker).get("offsets.retention.minutes", "-1"))
        except _Refused:
            return "the brokers do not show it to this user"
        if 0 <= minutes < _GOOD_RETENTION_DAYS * 24 * 60:
            raise Warn(
                f"offsets.retention.minutes is {minutes} on the brokers: if ingest is away for longer, the plan of a "
                f"half-stored block is lost; set it to {_GOOD_RETENTION_DAYS * 24 * 60} or more {_SEE}"
            )
        return f"offsets.retention.minutes is {minutes}"


class _Refused(Exception):
    """This user may not read these options."""


def _duration(milliseconds: int) -> str:
    return f"{milliseconds / _DAY_MS:.3g} days" if milliseconds > _DAY_MS else f"{milliseconds / 3_600_000:.3g} h"
