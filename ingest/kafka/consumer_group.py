"""Membership in the consumer group: the one consumer of a log, used by one thread at a time.

Owns: joining with either group protocol, partitions that are assigned and revoked, offsets that are committed and read.
Partitions are assigned and revoked only while the consumer is polled, so never between looking at them and committing.
While brokers do not answer a commit (ingest/kafka/commit_request.py), nothing else is done with the consumer.
Limits: a member that is closed while a commit is unanswered leaves the group when the answer comes, or when its session
expires.
Source: KIP-429, KIP-848; librdkafka CONFIGURATION.md.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    Consumer,
    KafkaException,
    TopicPartition,
)

from engine.config.grace import LEAVE_SECONDS
from engine.config.kafka_settings import KafkaSettings
from engine.errors import LogFailed, LogUnavailable
from ingest.kafka.client import (
    ANSWER_TIMEOUT_SECONDS,
    MembershipRefused,
    consumer_options,
    ensure_topic,
    is_refused_by_group,
    kafka_errors,
    to_meterport_error,
)
from ingest.kafka.commit_request import CommitRequest
from ingest.kafka.known_brokers import KnownBrokers, connect_watched
from ingest.kafka.plans import Commit, committed_plan, is_forged
from ingest.kafka.topic_queries import TopicQueries

_T = TypeVar("_T")
logger = logging.getLogger(__name__)
_RETRY_SECONDS = 0.2
_LEFT_LATER = "the brokers remove this process from the group when its session times out"
_ASSIGNMENT_SECONDS = 60  # a client that gets no answer for this long while it takes partitions is replaced

OnAssigned = Callable[[Mapping[int, Commit], set[int]], Mapping[int, int]]
OnRevoked = Callable[[set[int]], None]


class GroupMember(TopicQueries):
    """A member of the group that `settings` name. Thread-safe.

    `on_assigned` gets the commits of the newly assigned partitions and of those that share a plan with them, and the
    numbers of the new ones. It returns the offset where each new partition is to be read; a partition that it leaves
    out is read from its beginning. `on_revoked` gets the numbers of the revoked partitions.
    """

    def __init__(self, settings: KafkaSettings, on_assigned: OnAssigned, on_revoked: OnRevoked) -> None:
        super().__init__(settings)
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._protocol = "classic" if settings.group_protocol == "classic" else "consumer"
        self._lock = threading.RLock()
        self._consumer: Consumer | None = None
        self._known_brokers = KnownBrokers()  # those of this consumer
        self._discarded_consumer: Consumer | None = None  # the last consumer that could not go on
        self._protocol_change_due = False
        self._assignment_unanswered = False  # the consumer did not learn where its partitions begin
        self._failed: LogFailed | None = None
        self._commit: CommitRequest | None = None  # the last one
        self._paused = False
        self._held_partitions: set[int] = set()  # partitions that stay paused when the others resume
        self.is_member = False  # the group has said which partitions this process owns, if any
        self.refused = False  # the group refuses to say what is committed
        self.outside_group_since: float | None = None  # monotonic seconds; None: this process has not asked to join yet
        self.closing = threading.Event()

    @contextlib.contextmanager
    def using(self, action: str) -> Iterator[Consumer]:
        """Yield the consumer to this thread only, after joining the group. Raises: LogUnavailable, LogFailed."""
        with self._lock:
            try:
                with kafka_errors(action):
                    yield self._ready(action)
            except MembershipRefused:
                self._discard_consumer()
                raise
            finally:
                if self._failed:
                    raise self._failed

    def _ready(self, action: str) -> Consumer:
        if self.closing.is_set():
            raise LogUnavailable(f"Kafka: {action}: the log is closed")
        if self.commit_unanswered:
            raise LogUnavailable(f"Kafka: {action}: a commit is not answered yet")
        if self._protocol_change_due:
            self._change_protocol()
        if self._consumer is not None and (self._known_brokers.forgotten or self._assignment_unanswered):
            self._discard_consumer()
        if self._consumer is None:
            self._consumer = self._join()
        return self._consumer

    @property
    def joined(self) -> bool:
        """Whether there is a membership to keep alive, and it can be kept alive now."""
        return self._consumer is not None and not self.commit_unanswered

    @property
    def commit_unanswered(self) -> bool:
        """Whether a commit was sent whose answer has not come."""
        return self._commit is not None and not self._commit.answered

    def _current_consumer(self) -> Consumer:
        assert self._consumer is not None  # noqa: S101 - every caller is within `using`
        return self._consumer

    # to be called within `using`

    def commit(self, commits: Mapping[int, tuple[int, str]]) -> None:
        """Commit offset and metadata of partitions, all or none. Raises: LogUnavailable: it is not known which."""
        wanted = [TopicPartition(self._topic, number, *commit) for number, commit in commits.items()]
        self._commit = CommitRequest(self._current_consumer(), wanted)
        self._commit.wait()

    def committed(self, partitions: Iterable[int]) -> dict[int, Commit]:
        """Return what is committed for partitions. Raises: KafkaException, LogUnavailable."""
        asked = [TopicPartition(self._topic, number) for number in partitions]
        if not asked:
            return {}
        found = {}
        try:
            answers = self._current_consumer().committed(asked, timeout=ANSWER_TIMEOUT_SECONDS)
        except KafkaException as exception:
            self.refused = self.refused or is_refused_by_group(exception.args[0])
            raise
        self.refused = False
        for answer in answers:
            if answer.error is not None:
                self.refused = self.refused or is_refused_by_group(answer.error)
                raise to_meterport_error(answer.error, f"asking for the commit of partition {answer.partition}")
            offset = -1 if answer.offset == OFFSET_INVALID else answer.offset
            plan = committed_plan(answer.metadata, answer.partition, offset)
            found[answer.partition] = Commit(offset, plan, is_forged(answer.metadata))
        return found

    def move(self, partition: int, offset: int) -> None:
        """Read an assigned partition from another offset.

        The partition is unassigned and assigned again: a seek fails where reading has not begun or has failed.
        """
        consumer = self._current_consumer()
        self._held_partitions.discard(partition)
        with self._fail_if_inconsistent():
            consumer.incremental_unassign([self._topic_partition(partition)])
            consumer.incremental_assign([self._topic_partition(partition, offset)])
            self._match_pause(consumer, [partition])

    def pause(self) -> None:
        """Fetch nothing until `resume`."""
        if not self._paused:
            self._current_consumer().pause(self._current_consumer().assignment())
            self._paused = True

    def resume(self) -> None:
        """Fetch again, except partitions that are held."""
        if self._paused:
            read = [
                assigned
                for assigned in self._current_consumer().assignment()
                if assigned.partition not in self._held_partitions
            ]
            self._current_consumer().resume(read)
            self._paused = False

    def hold(self, partition: int) -> None:
        """Fetch nothing more of a partition until it is moved or assigned again."""
        self._held_partitions.add(partition)
        self._current_consumer().pause([self._topic_partition(partition)])

    def _match_pause(self, consumer: Consumer, partitions: Iterable[int]) -> None:
        """Pause or resume new partitions like the others: librdkafka remembers their state from an earlier time."""
        (consumer.pause if self._paused else consumer.resume)([self._topic_partition(number) for number in partitions])

    def fall_back_to_classic(self) -> bool:
        """Join with the classic protocol next time, if the settings allow it: the brokers do not know the newer one."""
        self._protocol_change_due = self._settings.group_protocol == "auto" and self._protocol == "consumer"
        return self._protocol_change_due

    # what the group decides

    def _take_partitions(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Take over partitions, from the offsets that `on_assigned` returns."""
        numbers = {partition.partition for partition in partitions}
        self._held_partitions -= numbers
        with self._fail_if_inconsistent():
            commits = self._retry_until_answered(lambda: self._commits_with_plans(numbers))
            starts = self._on_assigned(commits, numbers) if commits is not None else {}
            consumer.incremental_assign(
                [self._topic_partition(number, starts.get(number, OFFSET_BEGINNING)) for number in numbers]
            )
            self._match_pause(consumer, numbers)
            self.is_member = commits is not None

    def _give_up_lost_partitions(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Give up partitions that other members may own already."""
        self._give_up_partitions(consumer, partitions)
        if consumer is not self._discarded_consumer:
            self.is_member, self.outside_group_since = False, time.monotonic()

    def _give_up_partitions(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if consumer is self._discarded_consumer:  # its partitions are given up already
            return
        with self._fail_if_inconsistent():
            self._on_revoked({partition.partition for partition in partitions})
            consumer.incremental_unassign(partitions)

    def _commits_with_plans(self, numbers: set[int]) -> dict[int, Commit]:
        """Return what is committed for partitions, and for the other partitions that a plan on one of them covers."""
        commits = self.committed(numbers)
        plans = [commit.plan for commit in commits.values() if commit.plan]
        return commits | self.committed({range_.partition for plan in plans for range_ in plan.ranges} - numbers)

    def _retry_until_answered(self, attempt: Callable[[], _T]) -> _T | None:
        """Run `attempt` until the brokers answer; None if the member closes first, or a new consumer must replace this.

        Without an answer it is not known where a partition is to be read from. The consumer is not polled meanwhile, so
        it does not report whether it still knows a broker.
        """
        deadline = time.monotonic() + _ASSIGNMENT_SECONDS
        while not self.closing.is_set() and not self._assignment_unanswered:
            try:
                return attempt()
            except (KafkaException, LogUnavailable) as error:
                logger.warning("assignment_waits error=%s", error)
                self._assignment_unanswered = time.monotonic() > deadline
                self.closing.wait(_RETRY_SECONDS)
        return None

    @contextlib.contextmanager
    def _fail_if_inconsistent(self) -> Iterator[None]:
        """Fail for good if this process and the client may disagree about what is assigned.

        Records would otherwise be skipped without a report.
        """
        try:
            yield
        except Exception as error:
            logger.exception("membership_failed")
            self._failed = LogFailed(f"Kafka: assigning or revoking partitions failed: {error}")

    # the client

    def _join(self) -> Consumer:
        ensure_topic(self._settings, self._topic)
        self._paused = False
        self.outside_group_since = self.outside_group_since or time.monotonic()
        self._assignment_unanswered = False
        own = consumer_options(self._settings, self._protocol)
        consumer, self._known_brokers = connect_watched(Consumer, self._settings, own)
        consumer.subscribe(
            [self._topic],
            on_assign=self._take_partitions,
            on_revoke=self._give_up_partitions,
            on_lost=self._give_up_lost_partitions,
        )
        return consumer

    def _discard_consumer(self) -> None:
        """Give up a client that cannot go on, and its partitions. The next use joins the group with a new client."""
        self._discarded_consumer = consumer = self._current_consumer()
        self._consumer = None
        self._held_partitions.clear()
        self._on_revoked({assigned.partition for assigned in consumer.assignment()})
        if self.is_member:
            self.is_member, self.outside_group_since = False, time.monotonic()
        threading.Thread(target=_leave, args=(consumer,), name="kafka-leave", daemon=True).start()

    def _change_protocol(self) -> None:
        """Leave the group, to join it with the classic protocol, which brokers before Kafka 4.0 need."""
        logger.info("group_protocol_changed protocol=classic: the brokers do not offer the newer one")
        self._protocol, self._protocol_change_due = "classic", False
        consumer, self._consumer = self._current_consumer(), None
        consumer.close()

    def close(self) -> None:
        """Leave the group."""
        self.closing.set()
        with self._lock:
            consumer, self._consumer = self._consumer, None
            if consumer is None:
                return
            if self._commit is not None and not self._commit.answered:
                logger.warning("left_without_answer: a commit is not answered; %s", _LEFT_LATER)
                self._commit.when_answered(consumer.close)
                return
            leaving = threading.Thread(target=_leave, args=(consumer,), name="kafka-leave", daemon=True)
            leaving.start()
            leaving.join(LEAVE_SECONDS)  # a client that has failed for good may never return from close()
            if leaving.is_alive():
                logger.warning("left_without_answer: the client does not close; %s", _LEFT_LATER)


def _leave(consumer: Consumer) -> None:
    try:
        consumer.close()
    except KafkaException as error:
        logger.warning("left_with_error error=%s", error)
