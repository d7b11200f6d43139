"""The event log on Kafka: a share of a topic's partitions, and plans in the metadata of committed offsets.

Owns: membership in the consumer group, what was read and is not planned yet, the plan each partition carries.
Offsets are committed by hand alone: the start of a range with the plan when it is planned, its end when it is stored.
So the group's offsets never pass a batch that is not stored, and whoever is given a partition finds the plan its
last owner was at. Where the topic no longer holds what comes next, a record says so; nothing is skipped in silence.

Every call to the consumer is made under one lock, so no partition comes or goes while offsets are committed: a
partition that was given away is never committed here again. While nobody reads, a thread of its own keeps the
membership alive and the partitions paused.
Limits: held in memory are `QUEUE_BYTES` + `FETCH_BYTES` a broker, inside librdkafka, and of what was read and is not
planned one batch (ingest.batch_rows, ingest.batch_bytes) and a chunk; all partitions together.
Source: docs/design.md R6, R8; KIP-429, KIP-848.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Message, TopicPartition

from engine import metrics
from engine.clock import Clock, milliseconds, utc_now
from engine.errors import LogUnavailable
from engine.settings import KafkaSettings
from ingest.kafka.client import Options, as_ours, client_options, ensure_topic, kafka_errors
from ingest.kafka.plans import PLAN_PARTITIONS, Commit, from_metadata, to_metadata, was_made
from ingest.log import Lag, Plan, Range, Record

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
QUEUE_BYTES = 32 << 20
FETCH_BYTES = 16 << 20
_CHUNK = 2000  # records taken from librdkafka at a time
_POLL_SECONDS = 0.05
_MORE_SECONDS = 0.02  # how long a batch waits for more where more is known to come
_KEEP_SECONDS = 0.2
_IDLE_SECONDS = 2  # partitions nobody reads are paused after it
_ANSWER_SECONDS = 10
_UNSUPPORTED = frozenset({KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE})


@dataclass(slots=True)
class _Share:
    """A partition of ours. `planned`: where planning goes on; `seen`: where reading does; `end`: the topic's end."""

    planned: int
    acknowledged: int
    plan: Plan | None
    seen: int
    end: int = -1

    @property
    def drained(self) -> bool:
        return self.end >= self.seen


class KafkaLog:
    """An `EventLog` that shares a topic with every other process of its group. Thread-safe."""

    def __init__(self, settings: KafkaSettings, clock: Clock = utc_now) -> None:
        self._settings = settings
        self._topic = settings.topic
        self._clock = clock
        self._lock = threading.RLock()
        self._consumer: Consumer | None = None
        self._shares: dict[int, _Share] = {}
        self._held: list[Record] = []  # read and not planned, as they came
        self._held_bytes = 0
        self._left: dict[str, Plan] = {}  # to be run again, by token
        self._unanswered: Plan | None = None  # its commit may or may not have arrived
        self._paused = False
        self._read_at = 0.0
        self._lag = Lag(0, 0)
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="kafka-keeper", daemon=True)

    @property
    def name(self) -> str:
        """See `EventLog.name`."""
        return f"{self._topic}/{self._settings.group}"

    # reading

    def read(self, max_records: int, max_bytes: int, timeout_seconds: float) -> list[Record]:
        """See `EventLog.read`."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            with self._using("reading") as consumer:
                self._read_at = time.monotonic()
                self._resume(consumer)
                self._fill(consumer, max_records, max_bytes, min(_POLL_SECONDS, max(0, deadline - self._read_at)))
                batch = self._batch(max_records, max_bytes)
                self._lag = self._measured(consumer)
            if batch or time.monotonic() >= deadline:
                return batch

    def _fill(self, consumer: Consumer, max_records: int, max_bytes: int, wait_seconds: float) -> None:
        if not self._held:
            message = consumer.poll(wait_seconds)
            self._take(consumer, [message] if message else [])
        patience = time.monotonic() + _MORE_SECONDS
        while self._held and len(self._held) < max_records and self._held_bytes < max_bytes:
            messages = consumer.consume(min(_CHUNK, max_records - len(self._held)), 0)
            self._take(consumer, messages)
            if messages:
                patience = time.monotonic() + _MORE_SECONDS
            elif time.monotonic() > patience or all(share.drained for share in self._shares.values()):
                return
            else:
                message = consumer.poll(_MORE_SECONDS)
                self._take(consumer, [message] if message else [])

    def _take(self, consumer: Consumer, messages: list[Message]) -> None:
        """Hold the records among messages; act on what else they are."""
        failed = None
        records = []
        for message in messages:
            error = message.error()
            if error is not None:
                failed = self._failure(consumer, error, self._shares.get(message.partition()), message) or failed  # type: ignore[arg-type] # None of a client
                continue
            record = _record(message)
            share = self._shares.get(record.partition)
            if share is not None and record.offset >= share.seen:
                records.append(record)
                share.seen = record.offset + 1
        self._hold(records)
        if failed:
            raise failed

    def _hold(self, records: list[Record]) -> None:
        self._held += records
        self._held_bytes += sum(len(record.value or b"") for record in records)

    def _let_go(self, keep: Callable[[Record], bool]) -> None:
        self._held = [record for record in self._held if keep(record)]
        self._held_bytes = sum(len(record.value or b"") for record in self._held)

    def _failure(
        self, consumer: Consumer, error: KafkaError, share: _Share | None, message: Message
    ) -> Exception | None:
        """Act on an event that is no record; returns an error that concerns the caller."""
        code, offset = error.code(), message.offset()
        if code == KafkaError._PARTITION_EOF:
            if share is not None and offset is not None:
                share.end = offset
            return None
        if share is not None and code in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:
            partition = message.partition()
            assert partition is not None  # noqa: S101 - a share was found by it
            share.seen = self._told(partition, share.seen, *self._bounds(consumer, partition))
            consumer.seek(TopicPartition(self._topic, partition, share.seen))
            return None
        if code == KafkaError._MAX_POLL_EXCEEDED:
            _log.warning("membership_lost reason=%s", error.str())
            return None
        if code in _UNSUPPORTED and self._settings.group_protocol == "auto":
            self._fall_back()
            return None
        return as_ours(error, "reading")

    def _bounds(self, consumer: Consumer, partition: int) -> tuple[int, int]:
        topic_partition = TopicPartition(self._topic, partition)
        low, high = consumer.get_watermark_offsets(topic_partition, timeout=_ANSWER_SECONDS)
        return low, high

    def _told(self, partition: int, offset: int, low: int, high: int) -> int:
        """Return where reading a partition goes on if not before `offset`; tells if that is elsewhere."""
        if low <= offset <= high:
            return offset
        if offset < 0:
            return low  # nothing was ever committed
        if offset < low:
            lost = f"offsets {offset} to {low - 1} were deleted from the topic before they were read"
            self._hold([Record(partition, low - 1, milliseconds(self._clock()), None, None, lost)])
        else:
            lost = f"offset {offset} was reached, but the topic ends at {high}: made anew or cut off; read from {low}"
        _log.error("log_gap topic=%s partition=%d: %s", self._topic, partition, lost)
        metrics.LOG_GAPS.inc()
        return low

    def _batch(self, max_records: int, max_bytes: int) -> list[Record]:
        """Return the oldest of what is held, in the order of a block."""
        size, partitions = 0, set[int]()
        chosen = 0
        for record in self._held:
            size += len(record.value or b"")
            partitions.add(record.partition)
            if chosen and (chosen == max_records or size > max_bytes or len(partitions) > PLAN_PARTITIONS):
                break
            chosen += 1
        return sorted(self._held[:chosen])

    def reread(self, plan: Plan) -> list[Record]:
        """See `EventLog.reread`. Neighbours' ranges too: by a consumer of its own, outside the group."""
        with kafka_errors("reading a plan's records"):
            consumer = Consumer(client_options(self._settings, _reading(self._settings, "classic")))
            try:
                return self._ranges(consumer, plan)
            finally:
                consumer.close()

    def _ranges(self, consumer: Consumer, plan: Plan) -> list[Record]:
        records: list[Record] = []
        starts = []
        for partition, start, end in plan.ranges:
            low, _ = self._bounds(consumer, partition)
            if low > start:
                lost = f"offsets {start} to {min(low, end) - 1} were deleted from the topic while a plan held them"
                records.append(Record(partition, start, plan.stored_ms, None, None, lost))
            starts.append(TopicPartition(self._topic, partition, max(low, start)))
        consumer.assign(starts)
        ends = {partition: end for partition, _, end in plan.ranges}
        deadline = time.monotonic() + _ANSWER_SECONDS
        while ends:
            messages = consumer.consume(_CHUNK, _POLL_SECONDS)
            if messages:
                deadline = time.monotonic() + _ANSWER_SECONDS
            elif time.monotonic() > deadline:
                raise LogUnavailable(f"Kafka: the records of a plan did not come in {_ANSWER_SECONDS} s")
            for message in messages:
                self._collect(message, ends, records)
        return sorted(records)

    def _collect(self, message: Message, ends: dict[int, int], records: list[Record]) -> None:
        error, partition, offset = message.error(), message.partition(), message.offset()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise as_ours(error, "reading a plan's records")
        if partition not in ends or offset is None:
            return
        if error is None and offset < ends[partition]:
            records.append(_record(message))
        if error is not None or offset + 1 >= ends[partition]:
            del ends[partition]

    # planning

    def plan(self, ranges: tuple[Range, ...], stored_ms: int) -> Plan | None:
        """See `EventLog.plan`."""
        with self._using("planning"):
            unanswered = self._unanswered is not None and self._unanswered.ranges != ranges
            if unanswered or not all(self._covers(range_) for range_ in ranges):
                self._settle_unanswered()
                return None
            plan = self._unanswered or Plan(ranges, stored_ms)
            offsets = {range_.partition: (range_.start, to_metadata(plan)) for range_ in ranges}
            for partition, share in self._shares.items():
                if share.plan and share.plan.token not in self._left and partition not in offsets:
                    offsets[partition] = (share.planned, "")
            self._unanswered = plan
            self._commit(offsets)
            self._unanswered = None
            for partition, start, end in ranges:
                share = self._shares[partition]
                share.acknowledged, share.planned, share.plan = start, end, plan
            for partition in offsets.keys() - {range_.partition for range_ in ranges}:
                self._shares[partition].acknowledged, self._shares[partition].plan = offsets[partition][0], None
            self._release(ranges)
            return plan

    def _covers(self, range_: Range) -> bool:
        """Whether a range is what comes next on a partition of ours, so that nobody else can have planned it."""
        share = self._shares.get(range_.partition)
        if share is None or (share.plan and share.plan.token in self._left):
            return False
        first = next((record.offset for record in self._held if record.partition == range_.partition), None)
        return first == range_.start and share.seen >= range_.end

    def _release(self, ranges: Iterable[Range]) -> None:
        ends = {partition: end for partition, _, end in ranges}
        self._let_go(lambda record: record.offset >= ends.get(record.partition, 0))

    def _settle_unanswered(self) -> None:
        """Find out what became of a plan whose commit was not answered, now that its partitions are no longer all ours.

        The group has moved on since, so a commit still under way is refused.
        """
        plan, self._unanswered = self._unanswered, None
        if plan and was_made(plan, self._committed(range_.partition for range_ in plan.ranges)):
            self._left[plan.token] = plan
            for partition, start, end in plan.ranges:
                share = self._shares.get(partition)
                if share is not None and share.planned <= start:
                    share.planned, share.plan = end, plan
            self._release(plan.ranges)

    def acknowledge(self, plan: Plan) -> None:
        """See `EventLog.acknowledge`."""
        with self._using("acknowledging") as consumer:
            mine = {partition: share for partition, share in self._shares.items() if share.plan == plan}
            ends = {partition: end for partition, _, end in plan.ranges}
            if mine:
                self._commit({partition: (ends[partition], "") for partition in mine})
            for partition, share in mine.items():
                share.acknowledged, share.plan = ends[partition], None
            self._left.pop(plan.token, None)
            self._lag = self._measured(consumer)

    def discard(self, plan: Plan) -> None:
        """See `EventLog.discard`."""
        with self._using("reading again") as consumer:
            for partition, start, _ in plan.ranges:
                share = self._shares.get(partition)
                if share is not None and share.plan == plan:
                    consumer.seek(TopicPartition(self._topic, partition, start))
                    share.planned = share.seen = start
                    share.plan, share.end = None, -1
            again = {partition for partition, _, _ in plan.ranges}
            self._let_go(lambda record: record.partition not in again)
            self._left.pop(plan.token, None)

    def holds(self, plan: Plan) -> bool:
        """See `EventLog.holds`."""
        with self._using("asking for a plan"):
            commits = self._committed(range_.partition for range_ in plan.ranges)
        return any(commit.plan == plan for commit in commits.values())

    def pending(self) -> list[Plan]:
        """See `EventLog.pending`."""
        with self._using("joining the group"):
            return list(self._left.values())

    def planned(self) -> list[Plan]:
        """See `EventLog.planned`."""
        with self._using("asking for plans") as consumer:
            topic = consumer.list_topics(self._topic, timeout=_ANSWER_SECONDS).topics[self._topic]
            commits = self._committed(topic.partitions)
        plans = {commit.plan.token: commit.plan for commit in commits.values() if commit.plan}
        return [plan for plan in plans.values() if was_made(plan, commits)]

    def leads(self) -> bool:
        """See `EventLog.leads`: the owner of the first partition does."""
        return 0 in self._shares

    def waiting(self) -> int:
        """See `EventLog.waiting`."""
        with self._lock:
            return len(self._held) + sum(not share.drained for share in self._shares.values())

    def lag(self) -> Lag:
        """See `EventLog.lag`; as of the last look at the log. Brokers say nothing of bytes."""
        return self._lag

    def _measured(self, consumer: Consumer) -> Lag:
        return Lag(sum(self._behind(consumer, *item) for item in self._shares.items()), 0)

    def _behind(self, consumer: Consumer, partition: int, share: _Share) -> int:
        if share.drained and share.plan is None:
            return sum(record.partition == partition for record in self._held)  # a transaction ends without a record
        _, high = consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
        return max(high, share.seen) - share.acknowledged

    def _commit(self, offsets: dict[int, tuple[int, str]]) -> None:
        assert self._consumer is not None  # noqa: S101 - `_using` opened it
        wanted = [
            TopicPartition(self._topic, partition, offset, metadata)
            for partition, (offset, metadata) in offsets.items()
        ]
        answers = self._consumer.commit(offsets=wanted, asynchronous=False)
        for answer in answers or []:
            if answer.error is not None:
                raise as_ours(answer.error, f"committing partition {answer.partition}")

    def _committed(self, partitions: Iterable[int]) -> dict[int, Commit]:
        assert self._consumer is not None  # noqa: S101
        asked = [TopicPartition(self._topic, partition) for partition in partitions]
        found = {}
        for answer in self._consumer.committed(asked, timeout=_ANSWER_SECONDS):
            if answer.error is not None:
                raise as_ours(answer.error, f"asking for the commit of partition {answer.partition}")
            plan = from_metadata(answer.metadata)
            found[answer.partition] = Commit(-1 if answer.offset == OFFSET_INVALID else answer.offset, plan)
        return found

    # membership

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Take partitions over: find their plans, and where reading goes on."""
        numbers = [partition.partition for partition in partitions]
        commits, bounds = self._insist(lambda: self._found(consumer, numbers))
        plans = {commit.plan.token: commit.plan for commit in commits.values() if commit.plan}
        made = {token: plan for token, plan in plans.items() if was_made(plan, commits)}
        self._left |= made
        starts = []
        for number in bounds:
            share = self._shares[number] = self._share(number, commits[number], made, *bounds[number])
            starts.append(TopicPartition(self._topic, number, share.seen))
        consumer.incremental_assign(starts)
        if self._paused:
            consumer.pause(starts)
        metrics.PARTITIONS.set(len(self._shares))
        metrics.REBALANCES.inc()
        _log.info("partitions_assigned partitions=%s plans=%d", sorted(numbers), len(self._left))

    def _found(self, consumer: Consumer, numbers: list[int]) -> tuple[dict[int, Commit], dict[int, tuple[int, int]]]:
        """Return what is committed for partitions and those they share a plan with, and the bounds of the former."""
        commits = self._committed(numbers)
        plans = [commit.plan for commit in commits.values() if commit.plan]
        neighbours = {range_.partition for plan in plans for range_ in plan.ranges} - commits.keys()
        commits |= self._committed(neighbours) if neighbours else {}
        return commits, {number: self._bounds(consumer, number) for number in numbers}

    def _share(self, number: int, commit: Commit, made: Mapping[str, Plan], low: int, high: int) -> _Share:
        offset, plan = commit
        if plan and plan.token in made:
            end = next(end for partition, _, end in plan.ranges if partition == number)
            start = self._told(number, end, low, high)
            return _Share(start, offset, plan, start)
        start = self._told(number, offset, low, high)
        return _Share(start, start, None, start)

    def _insist(self, attempt: Callable[[], _T]) -> _T:
        """Run `attempt` until the brokers answer: without it a partition has no place to be read from."""
        while True:
            try:
                return attempt()
            except (KafkaException, LogUnavailable) as error:
                if self._closing.wait(_KEEP_SECONDS):
                    raise
                _log.warning("assignment_waits error=%s", error)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Give partitions up: whatever of them is not planned is the next owner's, what is planned he finds."""
        numbers = {partition.partition for partition in partitions}
        self._shares = {number: share for number, share in self._shares.items() if number not in numbers}
        self._let_go(lambda record: record.partition not in numbers)
        consumer.incremental_unassign(partitions)
        metrics.PARTITIONS.set(len(self._shares))
        _log.info("partitions_revoked partitions=%s", sorted(numbers))

    def _resume(self, consumer: Consumer) -> None:
        if self._paused:
            consumer.resume(consumer.assignment())
            self._paused = False

    def _keep(self) -> None:
        """Poll while nobody reads, so that the membership lives; paused, so that nothing piles up."""
        while not self._closing.wait(_KEEP_SECONDS):
            idle = time.monotonic() - self._read_at
            if idle < _KEEP_SECONDS:
                continue
            try:
                with self._using("keeping the membership") as consumer:
                    if idle > _IDLE_SECONDS and not self._paused:
                        consumer.pause(consumer.assignment())
                        self._paused = True
                    message = consumer.poll(0)
                    self._take(consumer, [message] if message else [])
            except LogUnavailable as error:
                _log.warning("membership_kept_with_error error=%s", error)

    # the client

    @contextlib.contextmanager
    def _using(self, doing: str) -> Iterator[Consumer]:
        with self._lock, kafka_errors(doing):
            if self._consumer is None:
                self._consumer = self._join()
                self._keeper.start()
            yield self._consumer

    def _join(self) -> Consumer:
        ensure_topic(self._settings, self._topic)
        protocol = self._settings.group_protocol
        return self._subscribe("classic" if protocol == "classic" else "consumer")

    def _subscribe(self, protocol: str) -> Consumer:
        consumer = Consumer(client_options(self._settings, _reading(self._settings, protocol)))
        consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)
        return consumer

    def _fall_back(self) -> None:
        """Join as brokers before Kafka 4.0 want it."""
        assert self._consumer is not None  # noqa: S101
        _log.info("group_protocol_changed protocol=classic: the brokers do not offer the newer one")
        self._consumer.close()
        self._consumer = self._subscribe("classic")

    def close(self) -> None:
        """Leave the group; plans that are not acknowledged are the next owner's."""
        self._closing.set()
        if self._keeper.is_alive():
            self._keeper.join()
        with self._lock:
            if self._consumer is not None:
                self._consumer.close()
                self._consumer = None


def _record(message: Message) -> Record:
    partition, offset = message.partition(), message.offset()
    return Record(partition, offset, message.timestamp()[1], message.value(), message.headers())  # type: ignore[arg-type] # of a record


def _reading(settings: KafkaSettings, protocol: str) -> Options:
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
