"""Where partitions are read on when the store, the group and the topic do not agree; what is missing is reported.

Owns: the comparison of partitions that were assigned with what the store knows, the search for a place where the topic
has nothing at ours, and the report of either: a log line, `meterport_log_gaps_total`, a record that says what is lost.
Every call is made while the member is in use (`GroupMember.using`).
Source: docs/design.md R6a, R6b; ingest/kafka/places.py has the table.
"""

import logging
from collections.abc import Mapping, Sequence

from engine import metrics
from engine.config.kafka_settings import KafkaSettings
from engine.instants import Clock, milliseconds
from ingest.event_log import Plan, Record
from ingest.kafka.assigned_partition import AssignedPartition
from ingest.kafka.buffer import RecordBuffer
from ingest.kafka.consumer_group import GroupMember
from ingest.kafka.places import Gap, Places, gap_between
from ingest.stored_positions import KnownTopic, StoredPositions

logger = logging.getLogger(__name__)


class Comparison:
    """The comparison for the partitions in `shares`, whose records are in `held`. Not thread-safe.

    `positions`: of the store that the log is read into; without them committed offsets are all there is to go by.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        positions: StoredPositions | None,
        member: GroupMember,
        shares: dict[int, AssignedPartition],
        held: RecordBuffer,
        clock: Clock,
    ) -> None:
        self._topic = settings.topic
        self._places = Places(positions, settings.topic, settings.trust_offsets) if positions else None
        self._member = member
        self._shares = shares
        self._held = held
        self._clock = clock
        self.uncompared: dict[int, int] = {}  # partitions not compared with the store yet: their committed offsets

    def begin(self) -> None:
        """Learn what the store knows before a plan of an earlier life is run: a store that is new then looks filled."""
        if self._places and not self._places.begun:
            self._known()

    def compare(self) -> None:
        """Read partitions that were assigned from the store's place, if the group has passed what the store lacks."""
        if not self.uncompared:
            return
        known = self._known()
        if known:
            for number, committed in list(self.uncompared.items()):
                self._compare_partition(number, committed, known)
        self.uncompared = {}

    def _known(self) -> KnownTopic | None:
        """Return what the store knows of the topic; None if this log is not told of a store."""
        if not self._places:
            return None
        return self._places.known(self._member.topic_id(), self._committed_offsets)

    def _compare_partition(self, number: int, committed: int, known: KnownTopic) -> None:
        position = known.positions.get(number)
        if committed < 0 and position is None:
            return
        low, high = self._member.bounds(number)
        gap = gap_between(committed, position, low)
        share = self._shares[number]
        if gap is None:
            if (
                committed < 0 and position is not None
            ):  # what comes before is stored, perhaps too long ago to be dropped
                self._begin_at(number, share, position)
            return
        self._held.let_go(lambda record: record.partition == number)
        if self._places and self._places.trusting and committed >= 0:
            self._lose_gap(number, share, gap)
        else:
            share.acknowledged = share.planned = share.seen = gap.start
            if gap.start < low:
                self._tell_gap(number, share, low, high)
                share.seen = low
            if share.seen < committed:
                self._report_gap(
                    number,
                    f"the group has passed offsets {share.seen} to {committed - 1}, but the store has not stored them: "
                    "it is an older copy or another store; they are read again",
                )
        self._member.move(number, share.seen)
        share.astray, share.end = False, -1

    def _begin_at(self, number: int, share: AssignedPartition, position: int) -> None:
        """Read a partition for which the group has no offset from the store's position on."""
        self._held.let_go(lambda record: record.partition == number)
        share.acknowledged = share.planned = share.seen = position
        share.astray, share.end = False, -1
        self._member.move(number, position)

    def _lose_gap(self, number: int, share: AssignedPartition, gap: Gap) -> None:
        """Report a gap that is not read, in a record: it is planned and stored like any other."""
        lost = (
            f"offsets {gap.start} to {gap.end - 1} were passed by the group but not stored here; they are not read, "
            "because kafka.trust_offsets is set"
        )
        self._report_gap(number, lost)
        before = gap.end - 1 - gap.start
        self._held.add(Record(number, gap.end - 1, milliseconds(self._clock()), None, None, lost, before))
        share.acknowledged, share.seen = gap.start, share.planned

    def _report_gap(self, number: int, what: str) -> None:
        logger.error("log_gap topic=%s partition=%d: %s", self._topic, number, what)
        metrics.LOG_GAPS.inc()

    def _committed_offsets(self) -> dict[int, int]:
        commits = self._member.committed(self._member.partitions())
        return {number: commit.offset for number, commit in commits.items() if commit.offset >= 0}

    def note(self, commits: Mapping[int, tuple[int, str]], plans: Sequence[Plan]) -> None:
        """Let the store note that all is stored up to these offsets, before the group's offsets pass them.

        Args: plans: released ones.
        """
        if self._places:
            released = [range_ for plan in plans for range_ in plan.ranges if range_.partition in commits]
            ours = {number: offset for number, (offset, _) in commits.items() if number in self._shares}
            self._places.note(ours, [range_ for range_ in released if range_.partition not in ours])

    def find_places(self) -> None:
        """Let partitions be read on that the topic has nothing of where we are; tell what they have lost."""
        for number, share in self._shares.items():
            if share.astray:
                low, high = self._member.bounds(number)
                place = share.seen if low <= share.seen <= high else low
                if place < share.seen and share.plan is None:  # or its acknowledgement says so: others may be at it
                    self._member.commit({number: (place, "")})
                self._member.move(number, place)
                self._tell_gap(number, share, low, high)
                share.seen, share.astray, share.end, share.asked = place, False, -1, -1

    def _tell_gap(self, number: int, share: AssignedPartition, low: int, high: int) -> None:
        if share.seen < low:
            lost = f"offsets {share.seen} to {low - 1} were deleted from the topic before they were read"
            before = low - 1 - share.seen  # a plan of it spans all of them, so that whoever runs it again tells all
            self._held.add(Record(number, low - 1, milliseconds(self._clock()), None, None, lost, before))
        elif share.seen > high:
            lost = (
                f"offset {share.seen} was reached, but the topic ends at {high}: made anew or cut off; read from {low}"
            )
            share.acknowledged, share.planned = min(share.acknowledged, low), min(share.planned, low)
            self._held.let_go(lambda record: record.partition == number)  # none of it could be read again
            if self._places:
                self._places.rename(self._member.topic_id())
        else:
            return
        self._report_gap(number, lost)
