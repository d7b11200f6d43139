"""Where reading continues when the store, the group and the topic disagree, and the report of what is missing.

Owns: the comparison of assigned partitions with what the store knows; the search for an offset where the topic no
longer has ours; and the report of both: a log line, `meterport_log_gaps_total`, a record that says what is lost.
Every call is made while the member is in use (`GroupMember.using`).
Source: docs/design.md R6a (gaps in the topic), R6b (positions in the store); the table is in
ingest/kafka/start_offsets.py.
"""

import logging
from collections.abc import Mapping, Sequence

from engine import metrics
from engine.config.kafka_settings import KafkaSettings
from engine.instants import Clock, milliseconds
from ingest.event_log import SEE_GAPS, Plan, Record
from ingest.kafka.assigned_partition import AssignedPartition
from ingest.kafka.buffer import RecordBuffer
from ingest.kafka.consumer_group import GroupMember
from ingest.kafka.start_offsets import Gap, TopicPositions, gap_between
from ingest.stored_positions import KnownTopic, StoredPositions

logger = logging.getLogger(__name__)


class PositionCheck:
    """Compares the positions of the partitions in `assigned`, whose records are in `buffer`. Not thread-safe.

    `positions`: those of the store that the log is read into. Without them only committed offsets say how far ingest
    is.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        positions: StoredPositions | None,
        member: GroupMember,
        assigned: dict[int, AssignedPartition],
        buffer: RecordBuffer,
        clock: Clock,
    ) -> None:
        self._topic = settings.topic
        self._positions = TopicPositions(positions, settings.topic, settings.trust_offsets) if positions else None
        self._member = member
        self._assigned = assigned
        self._buffer = buffer
        self._clock = clock
        self.uncompared: dict[int, int] = {}  # partitions not yet compared with the store: their committed offsets

    def ensure_noted(self) -> None:
        """Note the topic in the store before a plan of an earlier run is stored; a new store looks filled later."""
        if self._positions and not self._positions.is_noted:
            self._known_topic()

    def compare(self) -> None:
        """Compare newly assigned partitions with the store.

        If the group has passed records that the store lacks, the partition is read from the store's position on.
        """
        if not self.uncompared:
            return
        known = self._known_topic()
        if known:
            for number, committed in list(self.uncompared.items()):
                self._compare_partition(number, committed, known)
        self.uncompared = {}

    def _known_topic(self) -> KnownTopic | None:
        """Return what the store knows about the topic; None if this log was given no store."""
        if not self._positions:
            return None
        return self._positions.known(self._member.topic_id(), self._committed_offsets)

    def _compare_partition(self, number: int, committed: int, known: KnownTopic) -> None:
        position = known.positions.get(number)
        if committed < 0 and position is None:
            return
        low, high = self._member.bounds(number)
        gap = gap_between(committed, position, low)
        partition = self._assigned[number]
        if gap is None:
            if committed < 0 and position is not None:
                # What comes before is stored, perhaps so long ago that it would no longer be dropped as duplicate.
                self._start_at_position(number, partition, position)
            return
        self._buffer.discard(lambda record: record.partition == number)
        if self._positions and self._positions.trust_offsets and committed >= 0:
            self._skip_gap(number, partition, gap)
        else:
            partition.acknowledged_to = partition.planned_to = partition.read_to = gap.start
            if gap.start < low:
                self._report_topic_gap(number, partition, low, high)
                partition.read_to = low
            if partition.read_to < committed:
                self._report_gap(
                    number,
                    f"the group has passed offsets {partition.read_to} to {committed - 1}, but the store has not "
                    "stored them: it is an older copy or another store; they are read again",
                )
        self._member.move(number, partition.read_to)
        partition.out_of_range, partition.end = False, -1

    def _start_at_position(self, number: int, partition: AssignedPartition, position: int) -> None:
        """Read a partition for which the group has no offset from the store's position on."""
        self._buffer.discard(lambda record: record.partition == number)
        partition.acknowledged_to = partition.planned_to = partition.read_to = position
        partition.out_of_range, partition.end = False, -1
        self._member.move(number, position)

    def _skip_gap(self, number: int, partition: AssignedPartition, gap: Gap) -> None:
        """Report a gap that is not read, as a record: it is planned and stored like any other record."""
        lost = (
            f"offsets {gap.start} to {gap.end - 1} were passed by the group but not stored here; they are not read, "
            "because kafka.trust_offsets is set"
        )
        self._report_gap(number, lost)
        before = gap.end - 1 - gap.start
        self._buffer.add(Record(number, gap.end - 1, milliseconds(self._clock()), None, None, lost, before))
        partition.acknowledged_to, partition.read_to = gap.start, partition.planned_to

    def _report_gap(self, number: int, what: str) -> None:
        logger.error("log_gap topic=%s partition=%d: %s %s", self._topic, number, what, SEE_GAPS)
        metrics.count_gap()

    def _committed_offsets(self) -> dict[int, int]:
        commits = self._member.committed(self._member.partitions())
        return {number: commit.offset for number, commit in commits.items() if commit.offset >= 0}

    def note(self, commits: Mapping[int, tuple[int, str]], plans: Sequence[Plan]) -> None:
        """Have the store note that everything up to these offsets is stored, before the group's offsets pass them.

        Args: commits: offset and metadata by partition. plans: plans that were released.
        """
        if self._positions:
            released = [range_ for plan in plans for range_ in plan.ranges if range_.partition in commits]
            ours = {number: offset for number, (offset, _) in commits.items() if number in self._assigned}
            self._positions.note(ours, [range_ for range_ in released if range_.partition not in ours])

    def reposition_out_of_range(self) -> None:
        """Move partitions whose offset the topic no longer has, and report the gap."""
        for number, partition in self._assigned.items():
            if partition.out_of_range:
                low, high = self._member.bounds(number)
                offset = partition.read_to if low <= partition.read_to <= high else low
                # If it carries a plan, other processes may be running it: its acknowledgement then commits this offset.
                if offset < partition.read_to and partition.plan is None:
                    self._member.commit({number: (offset, "")})
                self._member.move(number, offset)
                self._report_topic_gap(number, partition, low, high)
                partition.read_to, partition.out_of_range, partition.end, partition.reported_end = offset, False, -1, -1

    def _report_topic_gap(self, number: int, partition: AssignedPartition, low: int, high: int) -> None:
        if partition.read_to < low:
            lost = f"offsets {partition.read_to} to {low - 1} were deleted from the topic before they were read"
            # A plan with this record covers the whole gap, so every process that runs it again reports the whole gap.
            before = low - 1 - partition.read_to
            self._buffer.add(Record(number, low - 1, milliseconds(self._clock()), None, None, lost, before))
        elif partition.read_to > high:
            lost = (
                f"offset {partition.read_to} was reached, but the topic ends at {high}: it was created again or cut "
                f"off; it is read from {low}"
            )
            partition.acknowledged_to, partition.planned_to = (
                min(partition.acknowledged_to, low),
                min(partition.planned_to, low),
            )
            self._buffer.discard(lambda record: record.partition == number)  # none of these records could be read again
            if self._positions:
                self._positions.set_topic_id(self._member.topic_id())
        else:
            return
        self._report_gap(number, lost)
