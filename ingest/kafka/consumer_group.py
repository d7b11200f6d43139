"""Membership in the consumer group: the one consumer of a log, used by one thread at a time.

Owns: joining by either group protocol, partitions that are given and taken, offsets committed and asked for.
Partitions come and go only while the consumer is polled, so never between a look at them and a commit. A commit
that brokers do not answer is waited for by a thread of its own, for as long as it takes: librdkafka would try it
again after the next change of the group, too. Until it is answered nothing else is done with the consumer.
Limits: closed while a commit is not answered, it leaves the group when that is answered, or by its session's end.
Source: KIP-429, KIP-848; librdkafka CONFIGURATION.md.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    Consumer,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from engine.config.kafka_settings import KafkaSettings
from engine.errors import LogFailed, LogUnavailable
from ingest.kafka.client import (
    ANSWER_SECONDS,
    NotTakenIn,
    as_ours,
    client_options,
    connect,
    ensure_topic,
    is_refused_by_group,
    kafka_errors,
    reading_options,
)
from ingest.kafka.plans import Commit, is_forged, plan_of

_T = TypeVar("_T")
logger = logging.getLogger(__name__)
_RETRY_SECONDS = 0.2
_NO_TOPIC_ID = "AAAAAAAAAAAAAAAAAAAAAA"  # of brokers before Kafka 2.8, and of some that speak its protocol

Given = Callable[[Mapping[int, Commit], set[int]], Mapping[int, int]]
Taken = Callable[[set[int]], None]


class GroupMember:
    """A member of the group that `settings` name. Thread-safe.

    `given` is told what is committed for the partitions that come and for those they share a plan with, and the numbers
    of the former; it returns where to read each of them, from its beginning if it does not say. `taken`: which go.
    """

    def __init__(self, settings: KafkaSettings, given: Given, taken: Taken) -> None:
        self._settings = settings
        self._topic = settings.topic
        self._given = given
        self._taken = taken
        self._protocol = "classic" if settings.group_protocol == "classic" else "consumer"
        self._lock = threading.RLock()
        self._consumer: Consumer | None = None
        self._discarded: Consumer | None = None  # the last one that the group refused
        self._outdated = False  # the protocol is to be changed
        self._failed: LogFailed | None = None
        self._answer: Future[list[TopicPartition] | None] | None = None  # to the last commit
        self._paused = False
        self._held: set[int] = set()  # partitions that are paused whatever becomes of the others
        self.is_member = False  # the group has said which partitions are ours, if any
        self.refused = False  # the group does not say what is committed
        self.outside_since: float | None = None  # monotonic seconds; None: not yet asked to be taken in
        self.closing = threading.Event()

    @contextlib.contextmanager
    def using(self, doing: str) -> Iterator[Consumer]:
        """Yield the consumer to this thread alone; joins the group first. Raises: LogUnavailable, LogFailed."""
        with self._lock:
            try:
                with kafka_errors(doing):
                    yield self._ready(doing)
            except NotTakenIn:
                self._discard()
                raise
            finally:
                if self._failed:
                    raise self._failed

    def _ready(self, doing: str) -> Consumer:
        if self.closing.is_set():
            raise LogUnavailable(f"Kafka: {doing}: the log is closed")
        if self.unanswered:
            raise LogUnavailable(f"Kafka: {doing}: a commit is not answered yet")
        if self._outdated:
            self._change_protocol()
        if self._consumer is None:
            self._consumer = self._join()
        return self._consumer

    @property
    def joined(self) -> bool:
        """Whether there is a membership to keep, and it can be kept now."""
        return self._consumer is not None and not self.unanswered

    @property
    def unanswered(self) -> bool:
        """Whether a commit was sent and nothing is known of it."""
        return self._answer is not None and not self._answer.done()

    def _used(self) -> Consumer:
        assert self._consumer is not None  # noqa: S101 - whoever asks is within `using`
        return self._consumer

    # within `using`

    def commit(self, commits: Mapping[int, tuple[int, str]]) -> None:
        """Commit offset and metadata of partitions, all or none. Raises: LogUnavailable: one or the other."""
        consumer = self._used()
        wanted = [TopicPartition(self._topic, number, *commit) for number, commit in commits.items()]
        self._answer = answer = Future[list[TopicPartition] | None]()

        def commit_() -> None:
            try:
                answer.set_result(consumer.commit(offsets=wanted, asynchronous=False))
            except BaseException as error:
                answer.set_exception(error)

        threading.Thread(target=commit_, name="kafka-commit", daemon=True).start()
        try:
            answered = answer.result(ANSWER_SECONDS)
        except TimeoutError:
            raise LogUnavailable(f"Kafka: committing: no answer in {ANSWER_SECONDS} s") from None
        for partition in answered or []:
            if partition.error is not None:
                raise as_ours(partition.error, f"committing partition {partition.partition}")

    def committed(self, partitions: Iterable[int]) -> dict[int, Commit]:
        """Return what is committed for partitions. Raises: KafkaException, LogUnavailable."""
        asked = [TopicPartition(self._topic, number) for number in partitions]
        if not asked:
            return {}
        found = {}
        try:
            answers = self._used().committed(asked, timeout=ANSWER_SECONDS)
        except KafkaException as exception:
            self.refused = self.refused or is_refused_by_group(exception.args[0])
            raise
        self.refused = False
        for answer in answers:
            if answer.error is not None:
                self.refused = self.refused or is_refused_by_group(answer.error)
                raise as_ours(answer.error, f"asking for the commit of partition {answer.partition}")
            offset = -1 if answer.offset == OFFSET_INVALID else answer.offset
            plan = plan_of(answer.metadata, answer.partition, offset)
            found[answer.partition] = Commit(offset, plan, is_forged(answer.metadata))
        return found

    def partitions(self, seconds: float | None = None) -> set[int]:
        """Return the numbers of the topic's partitions. Raises: KafkaException, LogUnavailable."""
        found = self._used().list_topics(self._topic, timeout=ANSWER_SECONDS if seconds is None else seconds)
        topic = found.topics[self._topic]
        if topic.error is not None:
            raise as_ours(topic.error, f"looking for topic {self._topic}")
        return set(topic.partitions)

    def topic_id(self) -> str:
        """Return what tells the topic from another one of its name, "" if the brokers do not say. Best effort."""
        try:
            admin = connect(AdminClient, client_options(self._settings, {}))
            described = admin.describe_topics(TopicCollection([self._topic]), request_timeout=ANSWER_SECONDS)
            found = str(described[self._topic].result(ANSWER_SECONDS).topic_id)
        except (KafkaException, TimeoutError) as error:
            logger.warning("topic_id_unknown topic=%s error=%s", self._topic, error)
            return ""
        return "" if found == _NO_TOPIC_ID else found

    def bounds(self, partition: int) -> tuple[int, int]:
        """Return the first offset a partition has, and its next. Raises: KafkaException."""
        low, high = self._used().get_watermark_offsets(self._at(partition), timeout=ANSWER_SECONDS)
        return low, high

    def bounds_heard(self, partition: int) -> tuple[int, int]:
        """Return the same as of the last fetch; negative if there was none."""
        low, high = self._used().get_watermark_offsets(self._at(partition), cached=True)
        return low, high

    def ends(self, partitions: Iterable[int], seconds: float) -> dict[int, int]:
        """Ask for the next offset of each partition, in one request a broker. Raises: KafkaException.

        A partition whose leader does not answer in time is left out.
        """
        asked = [self._at(number, OFFSET_END) for number in partitions]  # in the place of a time it asks for the end
        found = self._used().offsets_for_times(asked, timeout=seconds) if asked else []
        return {answer.partition: answer.offset for answer in found if answer.error is None}

    def move(self, partition: int, offset: int) -> None:
        """Read a partition of ours from elsewhere; a seek is refused where reading has not begun or has failed."""
        consumer = self._used()
        self._held.discard(partition)
        with self._kept_together():
            consumer.incremental_unassign([self._at(partition)])
            consumer.incremental_assign([self._at(partition, offset)])
            self._pause_or_not(consumer, [partition])

    def pause(self) -> None:
        """Fetch no more."""
        if not self._paused:
            self._used().pause(self._used().assignment())
            self._paused = True

    def resume(self) -> None:
        """Fetch again."""
        if self._paused:
            read = [place for place in self._used().assignment() if place.partition not in self._held]
            self._used().resume(read)
            self._paused = False

    def hold(self, partition: int) -> None:
        """Fetch no more of a partition until it is moved, or assigned again."""
        self._held.add(partition)
        self._used().pause([self._at(partition)])

    def _pause_or_not(self, consumer: Consumer, partitions: Iterable[int]) -> None:
        """Treat partitions that come like the others; librdkafka remembers how they were when they went."""
        (consumer.pause if self._paused else consumer.resume)([self._at(number) for number in partitions])

    def take_older_protocol(self) -> bool:
        """Join by the classic protocol next time, if that may be; the brokers do not know the newer one."""
        self._outdated = self._settings.group_protocol == "auto" and self._protocol == "consumer"
        return self._outdated

    # what the group decides

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Take partitions over, from where `given` says."""
        numbers = {partition.partition for partition in partitions}
        self._held -= numbers
        with self._kept_together():
            commits = self._insist(lambda: self._found(numbers))
            starts = self._given(commits, numbers) if commits is not None else {}
            consumer.incremental_assign([self._at(number, starts.get(number, OFFSET_BEGINNING)) for number in numbers])
            self._pause_or_not(consumer, numbers)
            self.is_member = True

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Give partitions up that others may have already."""
        self._revoked(consumer, partitions)
        if consumer is not self._discarded:
            self.is_member, self.outside_since = False, time.monotonic()

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if consumer is self._discarded:  # its partitions are given up already
            return
        with self._kept_together():
            self._taken({partition.partition for partition in partitions})
            consumer.incremental_unassign(partitions)

    def _found(self, numbers: set[int]) -> dict[int, Commit]:
        """Return what is committed for partitions, and for those that a plan on one of them spans besides."""
        commits = self.committed(numbers)
        plans = [commit.plan for commit in commits.values() if commit.plan]
        return commits | self.committed({range_.partition for plan in plans for range_ in plan.ranges} - numbers)

    def _insist(self, attempt: Callable[[], _T]) -> _T | None:
        """Run `attempt` until brokers answer: without it a partition has no place to be read from. None at the end."""
        while not self.closing.is_set():
            try:
                return attempt()
            except (KafkaException, LogUnavailable) as error:
                logger.warning("assignment_waits error=%s", error)
                self.closing.wait(_RETRY_SECONDS)
        return None

    @contextlib.contextmanager
    def _kept_together(self) -> Iterator[None]:
        """Fail for good if the client and we may differ on what is ours: records would be skipped in silence."""
        try:
            yield
        except Exception as error:
            logger.exception("membership_failed")
            self._failed = LogFailed(f"Kafka: partitions were given or taken, and that failed: {error}")

    # the client

    def _join(self) -> Consumer:
        ensure_topic(self._settings, self._topic)
        self._paused = False
        self.outside_since = self.outside_since or time.monotonic()
        consumer = connect(Consumer, client_options(self._settings, reading_options(self._settings, self._protocol)))
        consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
        return consumer

    def _discard(self) -> None:
        """Give up a client that is at its end, and what it was given; the next use joins the group by a new one."""
        self._discarded = consumer = self._used()
        self._consumer = None
        self._held.clear()
        self._taken({place.partition for place in consumer.assignment()})
        if self.is_member:
            self.is_member, self.outside_since = False, time.monotonic()
        threading.Thread(target=_leave, args=(consumer,), name="kafka-leave", daemon=True).start()

    def _change_protocol(self) -> None:
        """Leave, to join as brokers before Kafka 4.0 want it."""
        logger.info("group_protocol_changed protocol=classic: the brokers do not offer the newer one")
        self._protocol, self._outdated = "classic", False
        consumer, self._consumer = self._used(), None
        consumer.close()

    def close(self) -> None:
        """Leave the group."""
        self.closing.set()
        with self._lock:
            consumer, self._consumer = self._consumer, None
            if consumer is None:
                return
            if self._answer is not None and self.unanswered:
                logger.warning("left_without_answer: a commit is not answered; the group will notice")
                self._answer.add_done_callback(lambda _: consumer.close())
                return
            leaving = threading.Thread(target=_leave, args=(consumer,), name="kafka-leave", daemon=True)
            leaving.start()
            leaving.join(ANSWER_SECONDS)  # a client that has failed for good does not come back from it
            if leaving.is_alive():
                logger.warning("left_without_answer: the client does not end; the group will notice")

    def _at(self, partition: int, offset: int = OFFSET_INVALID) -> TopicPartition:
        return TopicPartition(self._topic, partition, offset)


def _leave(consumer: Consumer) -> None:
    try:
        consumer.close()
    except KafkaException as error:
        logger.warning("left_with_error error=%s", error)
