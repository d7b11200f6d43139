"""The plans that the assigned partitions carry: making, acknowledging and giving up a plan by commits of the group.

A plan is committed with the start of each of its ranges before its batch is stored; the end of a range is committed
when the batch is stored. If a commit is not answered, nobody knows whether the plan is durable: it is planned again as
it is, or, once its partitions are no longer all assigned to this process, the group is asked.
Every call is made while the member is in use (`GroupMember.using`), except `release`.
Source: docs/design.md R6 (plans), R11b (a plan that is run again keeps what its first run kept).
"""

from collections.abc import Collection, Iterable

from ingest.event_log import Plan, Range
from ingest.kafka.assigned_partition import AssignedPartition
from ingest.kafka.buffer import RecordBuffer
from ingest.kafka.consumer_group import GroupMember
from ingest.kafka.plans import is_durable, to_metadata
from ingest.kafka.position_check import PositionCheck


class Planning:
    """The plans of the partitions in `assigned`, whose records are in `buffer`."""

    def __init__(
        self,
        member: GroupMember,
        assigned: dict[int, AssignedPartition],
        buffer: RecordBuffer,
        position_check: PositionCheck,
    ) -> None:
        self._member = member
        self._assigned = assigned
        self._buffer = buffer
        self._position_check = position_check
        self._unanswered: Plan | None = None  # a plan whose commit may or may not have arrived
        self._released: list[Plan] = []  # stored, not yet acknowledged on partitions of other members

    def plan(self, ranges: tuple[Range, ...], stored_ms: int) -> Plan | None:
        """See `EventLog.plan`."""
        if not self._may_plan(ranges):
            self._resolve_unanswered()
            return None
        plan = self._unanswered or Plan(ranges, stored_ms)
        planned = {range_.partition for range_ in ranges}
        stored = [
            number
            for number, partition in self._assigned.items()
            if partition.plan and not partition.inherited and number not in planned
        ]
        commits = (
            self._released_ends()
            | {number: (self._assigned[number].planned_to, "") for number in stored}
            | {range_.partition: (range_.start, to_metadata(plan)) for range_ in ranges}
        )
        self._position_check.note(commits, self._released)
        self._unanswered = plan
        self._member.commit(commits)
        self._unanswered = None
        self._released.clear()
        self._mark_stored(stored)
        for number, start, _ in ranges:
            self._assigned[number].acknowledged_to = start
        self._set_plan(plan, planned, inherited=False)
        return plan

    def _may_plan(self, ranges: tuple[Range, ...]) -> bool:
        """Return whether ranges are the next ones of our partitions, so that no other process can have planned them."""
        if self._unanswered and self._unanswered.ranges != ranges:
            return False
        first_offsets = self._buffer.first_offsets()
        for number, start, end in ranges:
            partition = self._assigned.get(number)
            if (
                partition is None
                or number in self._position_check.uncompared
                or (partition.plan and partition.inherited)
                or first_offsets.get(number) != start
                or partition.read_to < end
            ):
                return False
        return True

    def _set_plan(self, plan: Plan, numbers: Collection[int], inherited: bool) -> None:
        """Note that assigned partitions now carry a plan."""
        ends = {number: end for number, _, end in plan.ranges if number in numbers}
        for number, end in ends.items():
            partition = self._assigned[number]
            partition.planned_to, partition.plan, partition.inherited = end, plan, inherited
        self._buffer.discard(lambda record: record.offset < ends.get(record.partition, 0))

    def _resolve_unanswered(self) -> None:
        """Find out whether a plan is durable whose commit was not answered, once its partitions are no longer all ours.

        The group has rebalanced since, so a commit that is still under way will be refused.
        """
        plan = self._unanswered
        if plan is None:
            return
        commits = self._member.committed(range_.partition for range_ in plan.ranges)
        self._unanswered = None
        if is_durable(plan, commits):
            ours = [number for number in self._assigned if number in commits and not self._has_plan(number, plan)]
            self._set_plan(plan, [number for number in ours if commits[number].plan == plan], inherited=True)

    def acknowledge(self, plan: Plan) -> None:
        """See `EventLog.acknowledge`."""
        stored = [number for number, _, _ in plan.ranges if self._has_plan(number, plan)]
        self._skip_transaction_markers(stored)
        commits = self._released_ends() | {number: (self._assigned[number].planned_to, "") for number in stored}
        if commits:
            self._position_check.note(commits, self._released)
            self._member.commit(commits)
            self._released.clear()
        self._mark_stored(stored)

    def release(self, plan: Plan) -> None:
        """See `EventLog.release`."""
        self._released.append(plan)

    def _released_ends(self) -> dict[int, tuple[int, str]]:
        """Return what to commit for released plans: their ends on partitions of other members that still carry them.

        Before this process has joined the group this is empty: the coordinator would refuse the commit.
        """
        ends = {
            number: (plan, end)
            for plan in self._released
            for number, _, end in plan.ranges
            if number not in self._assigned and self._member.is_member
        }
        commits = self._member.committed(ends)
        return {number: (end, "") for number, (plan, end) in ends.items() if commits[number].plan == plan}

    def _skip_transaction_markers(self, numbers: Iterable[int]) -> None:
        """Continue at the topic's end where nothing is left to plan: markers that end transactions are no records."""
        held = self._buffer.first_offsets()
        for number in numbers:
            partition = self._assigned[number]
            if partition.at_end and number not in held:
                partition.planned_to = partition.read_to = partition.end

    def _mark_stored(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._assigned[number].acknowledged_to, self._assigned[number].plan = (
                self._assigned[number].planned_to,
                None,
            )

    def discard(self, plan: Plan) -> None:
        """See `EventLog.discard`."""
        carried = {number: start for number, start, _ in plan.ranges if self._has_plan(number, plan)}
        # lower than the plan's start if the topic was cut off since
        offsets = {number: min(start, self._assigned[number].planned_to) for number, start in carried.items()}
        commits = self._member.committed(offsets)
        still = {number: (offset, "") for number, offset in offsets.items() if commits[number].plan == plan}
        if still:  # records may not come for long, and until then other processes would wait for the plan
            self._member.commit(still)
        for number, offset in offsets.items():
            if self._has_plan(number, plan):
                partition = self._assigned[number]
                self._buffer.discard(lambda record, number=number: record.partition == number)  # type: ignore[misc]
                self._member.move(number, offset)
                self._assigned[number] = AssignedPartition(
                    offset, partition.acknowledged_to, None, offset, inherited=False
                )

    def inherited(self) -> list[Plan]:
        """Return the plans that must be run again: made by another process, or before a partition was revoked."""
        plans = [partition.plan for partition in self._assigned.values() if partition.plan and partition.inherited]
        return list({plan.token: plan for plan in plans}.values())

    def _has_plan(self, number: int, plan: Plan) -> bool:
        partition = self._assigned.get(number)
        return partition is not None and partition.plan == plan
