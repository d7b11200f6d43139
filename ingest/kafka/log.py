"""The event log on Kafka: a share of a topic's partitions, and plans in the metadata of committed offsets.

Owns: reading, the lock around everything, and what happens when partitions are assigned and revoked. Its parts are the
plans (planning.py), the comparison with the store and the reports about gaps (position_check.py), and the lag (lag.py).
Offsets are committed by hand only: the start of a range together with the plan when it is planned, its end when it is
stored. So the group's offsets never pass a batch that is not stored, and the next owner of a partition finds the plan
that its last owner was running. Where the topic no longer has the next offset, a record reports the gap; nothing is
skipped without a report.

While nothing is read, a separate thread keeps the membership alive and the partitions paused.
Limits, over all partitions together: librdkafka holds in memory `QUEUE_BYTES` or 100,000 records, and one fetch per
broker: `FETCH_BYTES`, several times as much if records are compressed; small records need about as much again. Of the
records that were read and are not planned, one batch (ingest.batch_rows, ingest.batch_bytes) and one chunk are held.
Source: docs/design.md R6 (plans), R8 (retries); ingest/kafka/consumer_group.py.
"""

import logging
import math
import threading
import time
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaError, Message

from engine import metrics
from engine.config.kafka_settings import KafkaSettings
from engine.errors import LogFailed, LogUnavailable
from engine.instants import Clock, utc_now
from ingest.event_log import DeadLetterRun, Lag, Plan, Range, Record
from ingest.kafka.assigned_partition import AssignedPartition
from ingest.kafka.buffer import RecordBuffer
from ingest.kafka.client import as_record, is_refused_by_group, is_unsupported, to_meterport_error
from ingest.kafka.consumer_group import GroupMember
from ingest.kafka.lag import END_QUERY_SECONDS, LagMonitor
from ingest.kafka.planned_records import reread
from ingest.kafka.planning import Planning
from ingest.kafka.plans import PLAN_PARTITIONS, Commit, is_durable
from ingest.kafka.position_check import PositionCheck
from ingest.stored_positions import StoredPositions

logger = logging.getLogger(__name__)
_CHUNK_RECORDS = 2000  # records taken from librdkafka at once
_POLL_SECONDS = 0.05
_MORE_WAIT_SECONDS = 0.02  # how long a batch waits for more records when more are known to come
_MAX_FILL_SECONDS = 0.1  # stop filling a batch after this long, unless the topic already holds enough to fill it
_KEEPALIVE_SECONDS = 0.2
_IDLE_SECONDS = 2  # if nothing is read for this long, partitions are paused
_OUT_OF_RANGE_CODES = frozenset(
    {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION}
)


class KafkaLog:
    """An `EventLog` that shares a topic with every other process of its group. Thread-safe.

    `monitor` says how far it is behind, and whether the group has taken it in.

    `positions`: those of the store that the log is read into. Without them only committed offsets say how far ingest
    is.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        clock: Clock = utc_now,
        positions: StoredPositions | None = None,
        end_query_seconds: float = END_QUERY_SECONDS,
    ) -> None:
        """Args: end_query_seconds: if brokers report nothing about a partition for this long, ask for its end."""
        self._settings = settings
        self._topic = settings.topic
        self._member = GroupMember(settings, self._on_assigned, self._on_revoked)
        self._assigned: dict[int, AssignedPartition] = {}
        self._buffer = RecordBuffer()
        self._position_check = PositionCheck(settings, positions, self._member, self._assigned, self._buffer, clock)
        self._planning = Planning(self._member, self._assigned, self._buffer, self._position_check)
        self._last_read = 0.0
        self.monitor = LagMonitor(self._member, self._assigned, self._buffer, end_query_seconds)
        self.assignments = 0
        self.thread = threading.Thread(target=self._keep_membership, name="kafka-keeper", daemon=True)
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
                self._last_read = time.monotonic()
                self._member.resume()
                self._position_check.compare()
                self._position_check.reposition_out_of_range()
                self._fill(consumer, max_records, max_bytes, min(_POLL_SECONDS, max(0, deadline - self._last_read)))
                self._position_check.compare()  # what was assigned meanwhile must be compared before it is planned
                self.monitor.query_ends()
                batch = self._buffer.batch(max_records, max_bytes, PLAN_PARTITIONS)
                self.monitor.measure()
            if batch or time.monotonic() >= deadline:
                return batch

    def _fill(self, consumer: Consumer, max_records: int, max_bytes: int, wait_seconds: float) -> None:
        if not self._buffer:
            self._buffer_messages(_poll(consumer, wait_seconds))
        began = time.monotonic()
        more_until = began + _MORE_WAIT_SECONDS
        while self._buffer and len(self._buffer) < max_records and self._buffer.bytes < max_bytes:
            messages = consumer.consume(min(_CHUNK_RECORDS, max_records - len(self._buffer)), 0)
            self._buffer_messages(messages)
            now = time.monotonic()
            if messages:
                more_until = now + _MORE_WAIT_SECONDS
            elif now > more_until or not any(partition.has_more for partition in self._assigned.values()):
                return
            else:
                self._buffer_messages(_poll(consumer, _MORE_WAIT_SECONDS))
            if now > began + _MAX_FILL_SECONDS and self.monitor.count_unread() < max_records - len(self._buffer):
                return

    def _buffer_messages(self, messages: list[Message]) -> None:
        """Buffer the records among messages, and handle the other messages. Raises: what `_handle_error` returns."""
        failed, now = None, time.monotonic()
        for message in messages:
            error = message.error()
            if error is not None:
                failed = self._handle_error(error, message) or failed
                continue
            record = as_record(message)
            partition = self._assigned.get(record.partition)
            if partition is not None and partition.run is None and record.offset >= partition.read_to:
                self._buffer.add(record)
                partition.read_to, partition.last_heard = record.offset + 1, now
        if failed:
            raise failed

    def _handle_error(self, error: KafkaError, message: Message) -> Exception | None:
        """Handle an event that is not a record. Returns an error that the caller must raise, or None."""
        code, offset, number = error.code(), message.offset(), message.partition()
        partition = None if number is None or message.topic() is None else self._assigned.get(number)
        if code == KafkaError._PARTITION_EOF:
            if partition is not None and offset is not None:
                partition.end, partition.last_heard = offset, time.monotonic()
            return None
        self.monitor.membership_refused = self.monitor.membership_refused or is_refused_by_group(error)
        if partition is not None and code in _OUT_OF_RANGE_CODES:
            partition.out_of_range = partition.run is None
            return None
        if code == KafkaError._MAX_POLL_EXCEEDED:
            logger.warning("membership_lost reason=%s", error.str())
            return None
        if is_unsupported(error) and self._member.fall_back_to_classic():
            return None
        return to_meterport_error(error, "reading")

    def reread(self, plan: Plan) -> list[Record]:
        """See `EventLog.reread`."""
        return reread(self._settings, plan)

    # planning

    def plan(self, ranges: tuple[Range, ...], stored_ms: int) -> Plan | None:
        """See `EventLog.plan`."""
        with self._member.using("planning"):
            return self._planning.plan(ranges, stored_ms)

    def acknowledge(self, plan: Plan) -> None:
        """See `EventLog.acknowledge`."""
        with self._member.using("acknowledging"):
            self._position_check.compare()
            self._planning.acknowledge(plan)
            self.monitor.measure()

    def release(self, plan: Plan) -> None:
        """See `EventLog.release`."""
        self._planning.release(plan)

    def hold(self, run: DeadLetterRun) -> None:
        """See `EventLog.hold`."""
        with self._member.using("holding a partition"):
            partition = self._assigned.get(run.partition)
            if partition is None or run.offset < partition.planned_to or partition.read_to < run.offset:
                return  # it was revoked meanwhile, or is read again from another offset
            self._buffer.discard(lambda record: record.partition == run.partition and record.offset >= run.offset)
            partition.run, partition.read_to, partition.end = run, run.offset, -1
            self._member.hold(run.partition)

    def held(self) -> list[DeadLetterRun]:
        """See `EventLog.held`."""
        return [partition.run for partition in list(self._assigned.values()) if partition.run]

    def discard(self, plan: Plan) -> None:
        """See `EventLog.discard`."""
        with self._member.using("reading again"):
            self._planning.discard(plan)

    def is_current(self, plan: Plan) -> bool:
        """See `EventLog.is_current`."""
        with self._member.using("asking for a plan"):
            commits = self._member.committed(range_.partition for range_ in plan.ranges)
        return any(commit.plan == plan for commit in commits.values())

    def pending(self) -> list[Plan]:
        """See `EventLog.pending`."""
        with self._member.using("joining the group"):
            self._position_check.compare()  # before a plan is run: its end would hide what the store lacks before it
            return self._planning.inherited()

    def planned(self) -> list[Plan]:
        """See `EventLog.planned`."""
        with self._member.using("asking for plans"):
            self._position_check.ensure_noted()
            commits = self._member.committed(self._member.partitions())
        plans = {commit.plan.token: commit.plan for commit in commits.values() if commit.plan}
        return [plan for plan in plans.values() if is_durable(plan, commits)]

    # how far it is

    def is_leader(self) -> bool:
        """See `EventLog.is_leader`: the owner of the first partition is the leader."""
        return 0 in self._assigned

    def waiting(self) -> int:
        """See `EventLog.waiting`. A partition that was not read to its end counts as one record."""
        return len(self._buffer) + sum(partition.has_more for partition in list(self._assigned.values()))

    def lag(self) -> Lag:
        """See `EventLog.lag`. It is as of the last look at the log, seconds ago at most; bytes are never known."""
        return self.monitor.lag

    def partitions(self) -> float:
        """Return how many partitions this process reads; NaN if it is not known whether it still owns them."""
        return len(self._assigned) if self.monitor.is_known else math.nan

    @property
    def group(self) -> str:
        """The name of the group."""
        return self._settings.group

    # membership

    def _on_assigned(self, commits: Mapping[int, Commit], numbers: set[int]) -> dict[int, int]:
        """Take over partitions with their plans. Returns the offset where each is to be read from."""
        for number in numbers:
            offset, plan, forged = commits[number]
            if forged:
                logger.error(
                    "plan_refused topic=%s partition=%d: what is committed is not a valid plan", self._topic, number
                )
                metrics.PLANS_REFUSED.inc()
            made = plan if plan and is_durable(plan, commits) else None
            start = next((range_.end for range_ in made.ranges if range_.partition == number), 0) if made else offset
            self._assigned[number] = AssignedPartition(
                max(0, start), max(0, offset), made, max(0, start), inherited=True
            )
            self._position_check.uncompared[number] = offset
        self.assignments += 1
        self.monitor.note_assignment()
        metrics.REBALANCES.inc()
        logger.info("partitions_assigned partitions=%s plans=%d", sorted(numbers), len(self._planning.inherited()))
        return {number: self._assigned[number].read_to for number in numbers if commits[number].offset >= 0}

    def _on_revoked(self, numbers: set[int]) -> None:
        """Give up partitions. The next owner reads again what is not planned, and finds the plans."""
        for number in numbers:
            self._assigned.pop(number, None)
            self._position_check.uncompared.pop(number, None)
        self._buffer.discard(lambda record: record.partition in numbers)
        logger.info("partitions_revoked partitions=%s", sorted(numbers))

    def _keep_membership(self) -> None:
        """Poll while nothing is read, so that the membership lives; pause, so that no records pile up."""
        while not self._member.closing.wait(_KEEPALIVE_SECONDS):
            if self._member.commit_unanswered:
                self.monitor.note_silence()
            idle = time.monotonic() - self._last_read
            if idle < _KEEPALIVE_SECONDS or not self._member.joined:
                continue
            try:
                with self._member.using("keeping the membership") as consumer:
                    if idle > _IDLE_SECONDS:
                        self._member.pause()
                    self._buffer_messages(_poll(consumer, 0))
                    self.monitor.query_ends()
            except LogUnavailable as error:
                if not self._member.closing.is_set():
                    logger.warning("membership_kept_with_error error=%s", error)
            except LogFailed as error:
                # the next caller that uses the log gets the error, too
                logger.warning("membership_not_kept error=%s", error)
                return

    def close(self) -> None:
        """Leave the group. The next owner of a partition runs its plans that are not acknowledged."""
        self._member.close()
        self.thread.join()


def _poll(consumer: Consumer, wait_seconds: float) -> list[Message]:
    """Return one message, or none. It is compared with None because an empty message is falsy."""
    message = consumer.poll(wait_seconds)
    return [] if message is None else [message]
