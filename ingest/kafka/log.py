"""The event log on Kafka: a share of a topic's partitions, and plans in the metadata of committed offsets.

Owns: what was read and is not planned yet, the plan each partition of ours carries, what is told of gaps.
Offsets are committed by hand alone: the start of a range with the plan when it is planned, its end when it is stored.
So the group's offsets never pass a batch that is not stored, and whoever is given a partition finds the plan its
last owner was at. Where the topic no longer holds what comes next, a record says so; nothing is skipped in silence.

While nobody reads, a thread of its own keeps the membership alive and the partitions paused.
Limits: held in memory are, inside librdkafka, `QUEUE_BYTES` of records or 100,000 of them, and what one fetch brings a
broker: `FETCH_BYTES`, several times as many if they are compressed; small records take about as much again. Of what was
read and is not planned: one batch (ingest.batch_rows, ingest.batch_bytes) and a chunk. All partitions together.
Source: docs/design.md R6, R8; ingest/kafka/consumer_group.py.
"""

import logging
import math
import threading
import time
from collections.abc import Collection, Iterable, Mapping

from confluent_kafka import Consumer, KafkaError, Message

from engine import metrics
from engine.config.kafka_settings import KafkaSettings
from engine.errors import LogFailed, LogUnavailable
from engine.instants import Clock, utc_now
from ingest.event_log import DeadLetterRun, Lag, Plan, Range, Record
from ingest.kafka.assigned_partition import AssignedPartition
from ingest.kafka.buffer import RecordBuffer
from ingest.kafka.client import as_ours, as_record, is_refused_by_group, is_unsupported
from ingest.kafka.comparison import Comparison
from ingest.kafka.consumer_group import GroupMember
from ingest.kafka.planned_records import reread
from ingest.kafka.plans import PLAN_PARTITIONS, Commit, to_metadata, was_made
from ingest.stored_positions import StoredPositions

logger = logging.getLogger(__name__)
_CHUNK = 2000  # records taken from librdkafka at a time
_POLL_SECONDS = 0.05
_MORE_SECONDS = 0.02  # how long a batch waits for more where more is known to come
_FRESH_SECONDS = 0.1  # how long it waits at all, unless the topic has enough to fill it: somebody waits to see it
_KEEP_SECONDS = 0.2
_LOOK_SECONDS = 5
_LOOK_LONGEST_SECONDS = 3  # how long an answer to that is waited for: nobody reads meanwhile
_LOOKS_UNANSWERED = 3  # after so many nothing is known of the topic's end
_IDLE_SECONDS = 2  # partitions nobody reads are paused after it
_NOT_THERE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION})


class KafkaLog:
    """An `EventLog` that shares a topic with every other process of its group. Thread-safe.

    `positions`: of the store that the log is read into; without them committed offsets are all there is to go by.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        clock: Clock = utc_now,
        positions: StoredPositions | None = None,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        """Args: look_seconds: brokers that say nothing of a partition for so long are asked for its end."""
        self._settings = settings
        self._topic = settings.topic
        self._member = GroupMember(settings, self._given, self._taken)
        self._shares: dict[int, AssignedPartition] = {}
        self._held = RecordBuffer()
        self._comparison = Comparison(settings, positions, self._member, self._shares, self._held, clock)
        self._unanswered: Plan | None = None  # its commit may or may not have arrived
        self._released: list[Plan] = []  # stored, and still to be acknowledged on partitions that are not ours
        self._read_at = 0.0
        self._lag = Lag(math.nan, math.nan)
        self._look_seconds = look_seconds
        self._looked_at = 0.0
        self._heard_at = time.monotonic()  # when brokers last said something, of whatever partition
        self.assignments = 0
        self._not_taken_in = False  # the group has refused this process since it was last a member
        self.thread = threading.Thread(target=self._keep, name="kafka-keeper", daemon=True)
        self.thread.start()

    @property
    def name(self) -> str:
        """See `EventLog.name`."""
        return f"{self._topic}/{self._settings.group}"

    # reading

    def read(self, max_records: int, max_bytes: int, timeout_seconds: float) -> list[Record]:
        """See `EventLog.read`."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            with self._member.using("reading") as consumer:
                self._read_at = time.monotonic()
                self._member.resume()
                self._comparison.compare()
                self._comparison.find_places()
                self._fill(consumer, max_records, max_bytes, min(_POLL_SECONDS, max(0, deadline - self._read_at)))
                self._comparison.compare()  # with what was assigned meanwhile: nothing of it may be planned before
                self._look_at_ends()
                batch = self._held.batch(max_records, max_bytes, PLAN_PARTITIONS)
                self._lag = self._measured()
            if batch or time.monotonic() >= deadline:
                return batch

    def _fill(self, consumer: Consumer, max_records: int, max_bytes: int, wait_seconds: float) -> None:
        if not self._held:
            self._take(_polled(consumer, wait_seconds))
        began = time.monotonic()
        patience = began + _MORE_SECONDS
        while self._held and len(self._held) < max_records and self._held.bytes < max_bytes:
            messages = consumer.consume(min(_CHUNK, max_records - len(self._held)), 0)
            self._take(messages)
            now = time.monotonic()
            if messages:
                patience = now + _MORE_SECONDS
            elif now > patience or not any(share.is_read for share in self._shares.values()):
                return
            else:
                self._take(_polled(consumer, _MORE_SECONDS))
            if now > began + _FRESH_SECONDS and self._unread() < max_records - len(self._held):
                return

    def _take(self, messages: list[Message]) -> None:
        """Hold the records among messages; act on what else they are."""
        failed, now = None, time.monotonic()
        for message in messages:
            error = message.error()
            if error is not None:
                failed = self._failure(error, message) or failed
                continue
            record = as_record(message)
            share = self._shares.get(record.partition)
            if share is not None and share.run is None and record.offset >= share.seen:
                self._held.add(record)
                share.seen, share.heard_at = record.offset + 1, now
        if failed:
            raise failed

    def _failure(self, error: KafkaError, message: Message) -> Exception | None:
        """Act on an event that is no record; returns an error that concerns the caller."""
        code, offset, number = error.code(), message.offset(), message.partition()
        share = None if number is None or message.topic() is None else self._shares.get(number)
        if code == KafkaError._PARTITION_EOF:
            if share is not None and offset is not None:
                share.end, share.heard_at = offset, time.monotonic()
            return None
        self._not_taken_in = self._not_taken_in or is_refused_by_group(error)
        if share is not None and code in _NOT_THERE:
            share.astray = share.run is None
            return None
        if code == KafkaError._MAX_POLL_EXCEEDED:
            logger.warning("membership_lost reason=%s", error.str())
            return None
        if is_unsupported(error) and self._member.take_older_protocol():
            return None
        return as_ours(error, "reading")

    def reread(self, plan: Plan) -> list[Record]:
        """See `EventLog.reread`."""
        return reread(self._settings, plan)

    # planning

    def plan(self, ranges: tuple[Range, ...], stored_ms: int) -> Plan | None:
        """See `EventLog.plan`."""
        with self._member.using("planning"):
            if not self._may_plan(ranges):
                self._settle_unanswered()
                return None
            plan = self._unanswered or Plan(ranges, stored_ms)
            planned = {range_.partition for range_ in ranges}
            stored = [
                number
                for number, share in self._shares.items()
                if share.plan and not share.inherited and number not in planned
            ]
            commits = (
                self._released_ends()
                | {number: (self._shares[number].planned, "") for number in stored}
                | {range_.partition: (range_.start, to_metadata(plan)) for range_ in ranges}
            )
            self._comparison.note(commits, self._released)
            self._unanswered = plan
            self._member.commit(commits)
            self._unanswered = None
            self._released.clear()
            self._note_stored(stored)
            for number, start, _ in ranges:
                self._shares[number].acknowledged = start
            self._carry(plan, planned, inherited=False)
            return plan

    def _may_plan(self, ranges: tuple[Range, ...]) -> bool:
        """Whether ranges are what comes next on partitions of ours, so that nobody else can have planned them."""
        if self._unanswered and self._unanswered.ranges != ranges:
            return False
        firsts = self._held.firsts()
        for number, start, end in ranges:
            share = self._shares.get(number)
            if (
                share is None
                or number in self._comparison.uncompared
                or (share.plan and share.inherited)
                or firsts.get(number) != start
                or share.seen < end
            ):
                return False
        return True

    def _carry(self, plan: Plan, numbers: Collection[int], inherited: bool) -> None:
        """Note that partitions of ours carry a plan now."""
        ends = {number: end for number, _, end in plan.ranges if number in numbers}
        for number, end in ends.items():
            share = self._shares[number]
            share.planned, share.plan, share.inherited = end, plan, inherited
        self._held.let_go(lambda record: record.offset < ends.get(record.partition, 0))

    def _settle_unanswered(self) -> None:
        """Find out what became of a plan whose commit was not answered, now that its partitions are no longer all ours.

        The group has moved on since, so a commit still under way is refused.
        """
        plan = self._unanswered
        if plan is None:
            return
        commits = self._member.committed(range_.partition for range_ in plan.ranges)
        self._unanswered = None
        if was_made(plan, commits):
            ours = [number for number in self._shares if number in commits and not self._carries(number, plan)]
            self._carry(plan, [number for number in ours if commits[number].plan == plan], inherited=True)

    def acknowledge(self, plan: Plan) -> None:
        """See `EventLog.acknowledge`."""
        with self._member.using("acknowledging"):
            self._comparison.compare()
            stored = [number for number, _, _ in plan.ranges if self._carries(number, plan)]
            self._pass_marks(stored)
            commits = self._released_ends() | {number: (self._shares[number].planned, "") for number in stored}
            if commits:
                self._comparison.note(commits, self._released)
                self._member.commit(commits)
                self._released.clear()
            self._note_stored(stored)
            self._lag = self._measured()

    def release(self, plan: Plan) -> None:
        """See `EventLog.release`."""
        self._released.append(plan)

    def _released_ends(self) -> dict[int, tuple[int, str]]:
        """Return what to commit for released plans: their ends on partitions of others that still carry them.

        Nothing before this process has joined the group: the coordinator would refuse the commit.
        """
        ends = {
            number: (plan, end)
            for plan in self._released
            for number, _, end in plan.ranges
            if number not in self._shares and self._member.is_member
        }
        commits = self._member.committed(ends)
        return {number: (end, "") for number, (plan, end) in ends.items() if commits[number].plan == plan}

    def _pass_marks(self, numbers: Iterable[int]) -> None:
        """Go on at the topic's end where nothing is left to plan: a transaction ends without a record."""
        held = self._held.firsts()
        for number in numbers:
            share = self._shares[number]
            if share.drained and number not in held:
                share.planned = share.seen = share.end

    def _note_stored(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._shares[number].acknowledged, self._shares[number].plan = self._shares[number].planned, None

    def hold(self, run: DeadLetterRun) -> None:
        """See `EventLog.hold`."""
        with self._member.using("holding a partition"):
            share = self._shares.get(run.partition)
            if share is None or run.offset < share.planned or share.seen < run.offset:
                return  # it was given away meanwhile, or is read again from another place
            self._held.let_go(lambda record: record.partition == run.partition and record.offset >= run.offset)
            share.run, share.seen, share.end = run, run.offset, -1
            self._member.hold(run.partition)

    def held(self) -> list[DeadLetterRun]:
        """See `EventLog.held`."""
        return [share.run for share in list(self._shares.values()) if share.run]

    def discard(self, plan: Plan) -> None:
        """See `EventLog.discard`."""
        with self._member.using("reading again"):
            carried = {number: start for number, start, _ in plan.ranges if self._carries(number, plan)}
            # before its start if the partition was cut off since
            places = {number: min(start, self._shares[number].planned) for number, start in carried.items()}
            commits = self._member.committed(places)
            still = {number: (place, "") for number, place in places.items() if commits[number].plan == plan}
            if still:  # nothing may come for long, and until then others would wait for the plan
                self._member.commit(still)
            for number, place in places.items():
                if self._carries(number, plan):
                    share = self._shares[number]
                    self._held.let_go(lambda record, number=number: record.partition == number)  # type: ignore[misc]
                    self._member.move(number, place)
                    self._shares[number] = AssignedPartition(place, share.acknowledged, None, place, inherited=False)

    def _carries(self, number: int, plan: Plan) -> bool:
        share = self._shares.get(number)
        return share is not None and share.plan == plan

    def is_current(self, plan: Plan) -> bool:
        """See `EventLog.is_current`."""
        with self._member.using("asking for a plan"):
            commits = self._member.committed(range_.partition for range_ in plan.ranges)
        return any(commit.plan == plan for commit in commits.values())

    def pending(self) -> list[Plan]:
        """See `EventLog.pending`."""
        with self._member.using("joining the group"):
            self._comparison.compare()  # before a plan is run: its end would hide what the store lacks before it
            return self._inherited()

    def _inherited(self) -> list[Plan]:
        plans = [share.plan for share in self._shares.values() if share.plan and share.inherited]
        return list({plan.token: plan for plan in plans}.values())

    def planned(self) -> list[Plan]:
        """See `EventLog.planned`."""
        with self._member.using("asking for plans"):
            self._comparison.begin()
            commits = self._member.committed(self._member.partitions())
        plans = {commit.plan.token: commit.plan for commit in commits.values() if commit.plan}
        return [plan for plan in plans.values() if was_made(plan, commits)]

    # how far it is

    def is_leader(self) -> bool:
        """See `EventLog.is_leader`: the owner of the first partition does."""
        return 0 in self._shares

    def waiting(self) -> int:
        """See `EventLog.waiting`; a partition that was not read to its end counts as one."""
        return len(self._held) + sum(share.is_read for share in list(self._shares.values()))

    def lag(self) -> Lag:
        """See `EventLog.lag`; as of the last look at the log, seconds ago at most. Brokers say nothing of bytes."""
        return self._lag if self._is_known else Lag(math.nan, math.nan)

    def partitions(self) -> float:
        """Return how many partitions this process reads; NaN: nobody says whether they are still its own."""
        return len(self._shares) if self._is_known else math.nan

    @property
    def is_member(self) -> bool:
        """Whether the group has said which partitions are this process's, if any.

        By the newer protocol it says nothing to a member for which there is no partition: brokers that answer, and a
        group that refuses nothing for a while, are taken for that.
        """
        if self._member.is_member:
            return True
        since = self._member.outside_since
        if since is None or self.refused:
            return False
        return self._heard_at > since and time.monotonic() - since >= _LOOKS_UNANSWERED * self._look_seconds

    @property
    def group(self) -> str:
        """The name of the group."""
        return self._settings.group

    @property
    def refused(self) -> bool:
        """Whether the group refuses this process: it lacks the right READ on it."""
        return self._not_taken_in or self._member.refused

    @property
    def outside_seconds(self) -> float:
        """Return how long ago this process asked to be a member, or was one; 0 while it is one."""
        since = self._member.outside_since
        return 0 if self.is_member or since is None else time.monotonic() - since

    @property
    def silent_seconds(self) -> float:
        """Return for how long brokers have said nothing of a partition of ours, as of when they were last asked.

        A thread that waits for the store meanwhile, so that nobody can ask, is no silence of the brokers.
        """
        return max(0, self._looked_at - self._heard_of_all_at)

    @property
    def _heard_of_all_at(self) -> float:
        heard = [share.heard_at for share in list(self._shares.values())]
        return min(heard) if heard else self._heard_at

    @property
    def _is_known(self) -> bool:
        return self.is_member and time.monotonic() - self._heard_of_all_at < _LOOKS_UNANSWERED * self._look_seconds

    def _measured(self) -> Lag:
        if not self.is_member:
            return Lag(math.nan, math.nan)
        held = self._held.counts()
        records = sum(self._behind(number, share, held[number]) for number, share in self._shares.items())
        return Lag(records, math.nan)

    def _unread(self) -> int:
        """Return how many records the topic has that were not read, as of the last fetch."""
        highs = ((self._member.bounds_heard(number)[1], share) for number, share in self._shares.items())
        return sum(max(0, high - share.seen) for high, share in highs)

    def _behind(self, number: int, share: AssignedPartition, held: int) -> float:
        if share.drained and share.plan is None and share.asked <= share.end:
            return held  # a transaction ends without a record
        low, high = self._member.bounds_heard(number)
        if max(high, share.asked) < 0:
            return math.nan  # nothing was fetched of it yet
        return max(0, max(high, share.asked, share.seen) - max(low, share.acknowledged))

    # membership

    def _given(self, commits: Mapping[int, Commit], numbers: set[int]) -> dict[int, int]:
        """Take partitions over, with their plans. Returns where each is to be read from."""
        for number in numbers:
            offset, plan, forged = commits[number]
            if forged:
                logger.error("plan_refused topic=%s partition=%d: what is committed is no plan", self._topic, number)
                metrics.PLANS_REFUSED.inc()
            made = plan if plan and was_made(plan, commits) else None
            start = next((range_.end for range_ in made.ranges if range_.partition == number), 0) if made else offset
            self._shares[number] = AssignedPartition(max(0, start), max(0, offset), made, max(0, start), inherited=True)
            self._comparison.uncompared[number] = offset
        self.assignments += 1
        self._not_taken_in, self._heard_at = False, time.monotonic()
        metrics.REBALANCES.inc()
        logger.info("partitions_assigned partitions=%s plans=%d", sorted(numbers), len(self._inherited()))
        return {number: self._shares[number].seen for number in numbers if commits[number].offset >= 0}

    def _taken(self, numbers: set[int]) -> None:
        """Give partitions up: whatever of them is not planned is the next owner's, what is planned he finds."""
        for number in numbers:
            self._shares.pop(number, None)
            self._comparison.uncompared.pop(number, None)
        self._held.let_go(lambda record: record.partition in numbers)
        logger.info("partitions_revoked partitions=%s", sorted(numbers))

    def _keep(self) -> None:
        """Poll while nobody reads, so that the membership lives; paused, so that nothing piles up."""
        while not self._member.closing.wait(_KEEP_SECONDS):
            if self._member.unanswered:
                self._looked_at = time.monotonic()  # so the brokers were asked, and do not answer
            idle = time.monotonic() - self._read_at
            if idle < _KEEP_SECONDS or not self._member.joined:
                continue
            try:
                with self._member.using("keeping the membership") as consumer:
                    if idle > _IDLE_SECONDS:
                        self._member.pause()
                    self._take(_polled(consumer, 0))
                    self._look_at_ends()
            except LogUnavailable as error:
                if not self._member.closing.is_set():
                    logger.warning("membership_kept_with_error error=%s", error)
            except LogFailed as error:
                logger.warning("membership_not_kept error=%s", error)  # whoever uses the log hears it, too
                return

    def _look_at_ends(self) -> None:
        """Ask for what brokers have not said for a while: the lag grows where nothing is fetched, or is not known."""
        now = time.monotonic()
        quiet = [number for number, share in self._shares.items() if now - share.heard_at >= self._look_seconds]
        is_quiet = quiet or (not self._shares and now - self._heard_at >= self._look_seconds)
        if not is_quiet or now - self._looked_at < self._look_seconds:
            return
        self._looked_at = now
        seconds = min(_LOOK_LONGEST_SECONDS, max(1, self._look_seconds))
        if quiet:
            for number, end in self._member.ends(list(self._shares), seconds).items():
                self._shares[number].asked, self._shares[number].heard_at = end, time.monotonic()
        else:
            self._member.partitions(seconds)
            if self._member.refused:
                self._member.committed([0])
            self._heard_at = time.monotonic()
        self._lag = self._measured()

    def close(self) -> None:
        """Leave the group; plans that are not acknowledged are the next owner's."""
        self._member.close()
        self.thread.join()


def _polled(consumer: Consumer, wait_seconds: float) -> list[Message]:
    """Return one message, if one comes. A message is false if it is empty: it is compared with None."""
    message = consumer.poll(wait_seconds)
    return [] if message is None else [message]
