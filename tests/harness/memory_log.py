"""An event log of several partitions in memory, shared by processes that start and end during a test.

Owns: `MemoryTopic`, which holds records, commits and plans as the brokers do, and `MemoryLog`, which is the log of one
process. A test decides which partitions a process has. Plans follow the same rules as in ingest/kafka/log.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ingest.event_log import DeadLetterRun, Lag, Plan, Range, Record


@dataclass
class MemoryTopic:
    """The records of each partition, the committed offsets, and the plan that each committed offset carries."""

    records: dict[int, list[Record]] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)
    plans: dict[int, Plan] = field(default_factory=dict)

    def append(self, partition: int, *values: bytes, arrived_ms: int) -> None:
        """Add records at the end of a partition."""
        held = self.records.setdefault(partition, [])
        held += [Record(partition, len(held) + index, arrived_ms, value) for index, value in enumerate(values)]

    @property
    def is_drained(self) -> bool:
        """Whether all records are planned and all plans are acknowledged."""
        return not self.plans and all(
            self.committed.get(partition, 0) == len(held) for partition, held in self.records.items()
        )


class MemoryLog:
    """The `EventLog` of one process. `give` and `take` change its partitions. A new process is a new `MemoryLog`."""

    name = "memory"

    def __init__(self, topic: MemoryTopic, partitions: Iterable[int] = ()) -> None:
        self._topic = topic
        self._positions: dict[int, int] = {}
        self._inherited: dict[int, Plan] = {}
        self._released: list[Plan] = []
        self._runs: dict[int, DeadLetterRun] = {}
        self.assignments = 0
        self.give(*partitions)

    def give(self, *partitions: int) -> None:
        """Assign partitions to this process, with the plans that their committed offsets carry."""
        self.assignments += 1
        for partition in partitions:
            plan = self._topic.plans.get(partition)
            self._positions[partition] = _end(plan, partition) if plan else self._topic.committed.get(partition, 0)
            if plan:
                self._inherited[partition] = plan

    def take(self, *partitions: int) -> None:
        """Revoke partitions."""
        for partition in partitions:
            self._positions.pop(partition, None)
            self._inherited.pop(partition, None)
            self._runs.pop(partition, None)

    def read(self, max_records: int, max_bytes: int, timeout_seconds: float) -> list[Record]:
        """See `EventLog.read`."""
        del max_bytes, timeout_seconds
        waiting = [
            record
            for partition, position in sorted(self._positions.items())
            for record in self._topic.records.get(partition, [])[position : self._end_of(partition)]
        ]
        return waiting[:max_records]

    def plan(self, ranges: tuple[Range, ...], stored_ms: int) -> Plan | None:
        """See `EventLog.plan`."""
        if any(self._positions.get(range_.partition) != range_.start for range_ in ranges):
            return None
        plan = Plan(ranges, stored_ms)
        for partition in list(self._positions):
            if partition in self._topic.plans and partition not in self._inherited:
                self._commit(partition, self._positions[partition])
        self._commit_released()
        for partition, start, end in ranges:
            self._topic.committed[partition], self._topic.plans[partition] = start, plan
            self._positions[partition] = end
        return plan

    def acknowledge(self, plan: Plan) -> None:
        """See `EventLog.acknowledge`."""
        for partition in self._positions:
            if self._topic.plans.get(partition) == plan:
                self._commit(partition, _end(plan, partition))
                self._inherited.pop(partition, None)
        self._commit_released()

    def release(self, plan: Plan) -> None:
        """See `EventLog.release`."""
        self._released.append(plan)

    def _commit_released(self) -> None:
        for plan in self._released:
            for partition, _, end in plan.ranges:
                if self._topic.plans.get(partition) == plan:
                    self._commit(partition, end)
        self._released.clear()

    def _commit(self, partition: int, offset: int) -> None:
        self._topic.committed[partition] = offset
        self._topic.plans.pop(partition, None)

    def discard(self, plan: Plan) -> None:
        """See `EventLog.discard`."""
        for partition, start, _ in plan.ranges:
            if self._topic.plans.get(partition) == plan and partition in self._positions:
                self._topic.plans.pop(partition)
                self._inherited.pop(partition, None)
                self._runs.pop(partition, None)
                self._positions[partition] = start

    def is_current(self, plan: Plan) -> bool:
        """See `EventLog.is_current`."""
        return plan in self._topic.plans.values()

    def pending(self) -> list[Plan]:
        """See `EventLog.pending`."""
        return list({plan.token: plan for plan in self._inherited.values()}.values())

    def reread(self, plan: Plan) -> list[Record]:
        """See `EventLog.reread`."""
        return [record for partition, start, end in plan.ranges for record in self._topic.records[partition][start:end]]

    def planned(self) -> list[Plan]:
        """See `EventLog.planned`."""
        return list({plan.token: plan for plan in self._topic.plans.values()}.values())

    def is_leader(self) -> bool:
        """See `EventLog.is_leader`."""
        return 0 in self._positions

    def waiting(self) -> int:
        """See `EventLog.waiting`."""
        return sum(self._end_of(number) - position for number, position in self._positions.items())

    def hold(self, run: DeadLetterRun) -> None:
        """See `EventLog.hold`."""
        self._runs[run.partition] = run

    def held(self) -> list[DeadLetterRun]:
        """See `EventLog.held`."""
        return list(self._runs.values())

    def _end_of(self, partition: int) -> int:
        """Return the offset where reading a partition ends."""
        end = len(self._topic.records.get(partition, []))
        return self._runs[partition].offset if partition in self._runs else end

    def lag(self) -> Lag:
        """See `EventLog.lag`."""
        return Lag(self.waiting(), 0)


def _end(plan: Plan, partition: int) -> int:
    return next(range_.end for range_ in plan.ranges if range_.partition == partition)
