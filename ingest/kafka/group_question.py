"""What the brokers say about the consumer group, without being a member of it: rights, and committed offsets.

Owns: a process of its own for the question, because librdkafka aborts the whole process if the group's coordinator
does not answer in time (librdkafka issue 4605). Nothing is committed, and the group is not joined.
Limits: if the cluster has never had a group, the question would make the brokers create their topic of offsets. So it
is not asked if the brokers say that this topic does not exist.
Source: KIP-430 (authorized operations); Kafka "Authorization", where READ implies DESCRIBE.
"""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import NamedTuple, TypeVar

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from engine.config.kafka_settings import KafkaSettings
from ingest.kafka.client import client_options, connect

_T = TypeVar("_T")
_OFFSETS_TOPIC = "__consumer_offsets"
# While a coordinator starts, or is elected.
_PASSING = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
}
_RETRY_SECONDS = 0.2
_START_SECONDS = 30  # how long another process may take to start


class GroupAnswer(NamedTuple):
    """What is known about the group. `granted`: the rights on it; None: the brokers do not report them.

    `offsets`: the committed offset of each partition that has one. `failure`: why nothing is known; "" if it is known.
    `unused`: the cluster has never had a consumer group.
    """

    granted: frozenset[str] | None = None
    offsets: dict[int, int] = {}  # noqa: RUF012 - nobody changes it
    failure: str = ""
    unused: bool = False


def ask_group(settings: KafkaSettings, partitions: int, seconds: float) -> GroupAnswer:
    """Return what the brokers say about the group. Args: partitions: of the topic. seconds: for each answer."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    asking = context.Process(target=_send_answer, args=(sending, settings, partitions, seconds), daemon=True)
    asking.start()
    sending.close()
    try:
        # Two questions, each of which is repeated for as long as one answer may take.
        if receiving.poll(_START_SECONDS + 4 * seconds):
            answer: GroupAnswer = receiving.recv()
            return answer
    except EOFError:
        pass
    finally:
        asking.kill()
        asking.join()
    return GroupAnswer(failure="its coordinator does not answer")


def _send_answer(sending: Connection, settings: KafkaSettings, partitions: int, seconds: float) -> None:
    admin = connect(AdminClient, client_options(settings, {"log_level": 0, "error_cb": lambda _: None}))
    try:
        answer = _answer(admin, settings, partitions, seconds)
    except KafkaException as exception:
        error = exception.args[0]
        refused = error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
        answer = GroupAnswer(frozenset()) if refused else GroupAnswer(failure=f"{error.str()} ({error.name()})")
    except TimeoutError:
        answer = GroupAnswer(failure="its coordinator does not answer")
    sending.send(answer)


def _answer(admin: AdminClient, settings: KafkaSettings, partitions: int, seconds: float) -> GroupAnswer:
    if not _has_groups(admin, seconds):
        return GroupAnswer(unused=True)
    described = _retry(
        lambda: admin.describe_consumer_groups(
            [settings.group], include_authorized_operations=True, request_timeout=seconds
        )[settings.group].result(seconds),
        seconds,
    )
    granted = frozenset(operation.name for operation in described.authorized_operations or ()) or None
    if granted is not None and not granted & {"READ", "DESCRIBE", "ALL"}:
        return GroupAnswer(granted)
    places = [TopicPartition(settings.topic, number) for number in range(partitions)]
    if not places:
        return GroupAnswer(granted)
    asked = ConsumerGroupTopicPartitions(settings.group, places)
    committed = _retry(
        lambda: admin.list_consumer_group_offsets([asked], request_timeout=seconds)[settings.group].result(seconds),
        seconds,
    ).topic_partitions
    offsets = {place.partition: place.offset for place in committed if place.error is None and place.offset >= 0}
    return GroupAnswer(granted, offsets)


def _has_groups(admin: AdminClient, seconds: float) -> bool:
    """Return whether the topic of offsets exists. A user who may not know is told that it does."""
    asked = admin.describe_topics(TopicCollection([_OFFSETS_TOPIC]), request_timeout=seconds)[_OFFSETS_TOPIC]
    try:
        asked.result(seconds)
    except KafkaException as exception:
        return bool(exception.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART)
    return True


def _retry(ask: Callable[[], _T], seconds: float) -> _T:
    """Return an answer; a coordinator that does not serve the group yet is asked again for so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except KafkaException as exception:
            if exception.args[0].code() not in _PASSING or time.monotonic() > deadline:
                raise
        time.sleep(_RETRY_SECONDS)
