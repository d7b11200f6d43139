"""The event log as ingest sees it: records by offset, and a plan for each batch that outlives the process.

Owns: `Record`, `Range`, `Plan`, the `EventLog` port. Contract, the same for every implementation:

- `read` returns records after the last planned ones, in order of (partition, offset); reading commits nothing.
- `plan` makes a batch durable before it is inserted, and acknowledges every batch planned before it.
- `acknowledge` says that a batch is in the store; a plan not acknowledged is `pending` for whoever reads next.
- `reread` returns exactly the records of a plan's ranges, as often as asked until it is acknowledged.
- A log may be shared: what one process reads another may be given at any moment, except where a plan is being made.

Source: docs/design.md R3, R6.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from engine.instants import LAST_MS

LATEST_STAMP_MS = LAST_MS  # events have no later times, so no clock that is right stamps later

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]


class Record(NamedTuple):
    """One record of the log. `arrived_ms`: Unix milliseconds at which the log took it. `value`: the event's JSON.

    `lost`: why there is nothing to decode: the log itself no longer has what it held from here on, or, if `before` is
    not 0, in so many offsets before this one, too.
    """

    partition: int
    offset: int
    arrived_ms: int
    value: bytes | None
    headers: Headers | None = None
    loss: str = ""
    lost_before: int = 0


class Range(NamedTuple):
    """Offsets [start, end) of one partition of the log."""

    partition: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What one batch inserts: which records, and the instant (Unix milliseconds) they are said to be stored at."""

    ranges: tuple[Range, ...]
    stored_ms: int

    @property
    def token(self) -> str:
        """The deduplication token: a hash of exactly these ranges and this stamp, whoever runs the plan.

        The stamp tells a topic that is read from its beginning again, or made anew, from what was read before.
        """
        ranges = ";".join(f"{partition}:{start}-{end}" for partition, start, end in sorted(self.ranges))
        return hashlib.sha256(f"{self.stored_ms};{ranges}".encode()).hexdigest()[:32]


class DeadLetterRun(NamedTuple):
    """So many records of a partition in a row are no events that the partition is not read on from `offset`.

    `first`: the first offset of the run; what lies between the two was stored as dead letters. `reason`: of the last.
    """

    partition: int
    first: int
    offset: int
    records: int
    reason: str


@dataclass(frozen=True, slots=True)
class Lag:
    """What the log holds that is not stored yet. NaN: it is not known."""

    records: float
    bytes: float


class EventLog(Protocol):
    """A durable log of events, as the consumer reads it. Any call may raise LogUnavailable: try again."""

    @property
    def name(self) -> str:
        """What tells this log from others that feed the same store."""
        ...

    def read(self, max_records: int, max_bytes: int, timeout_seconds: float) -> list[Record]:
        """Return the next records; waits for the first one up to `timeout_seconds`, then for none.

        At least one record is returned however large it is.
        """
        ...

    def plan(self, ranges: tuple[Range, ...], stored_ms: int) -> Plan | None:
        """Make a plan of these ranges durable; `read` goes on behind it.

        Returns None if some of them were given to another process since they were read: read again.
        After LogUnavailable it may or may not be durable; planning the same ranges again settles it.
        """
        ...

    def acknowledge(self, plan: Plan) -> None:
        """Say that a planned batch is in the store. After LogUnavailable it is pending still."""
        ...

    def release(self, plan: Plan) -> None:
        """Say that a plan is in the store although its partitions may be another member's now.

        Only for a store that no other process writes to: then nobody else can be running the plan. The log commits
        the end of the plan together with the next plan or acknowledgement.
        """
        ...

    def discard(self, plan: Plan) -> None:
        """Give up a plan of which nothing will be inserted; its records are read again and planned anew."""
        ...

    def is_current(self, plan: Plan) -> bool:
        """Whether the plan is still to be inserted: False once another process has taken it over and finished it."""
        ...

    def pending(self) -> list[Plan]:
        """Return plans that other processes, or this one in an earlier life, left unfinished: run them first."""
        ...

    def reread(self, plan: Plan) -> list[Record]:
        """Return the records of a pending plan."""
        ...

    def planned(self) -> list[Plan]:
        """Return every plan not acknowledged, whichever process is at it."""
        ...

    def is_leader(self) -> bool:
        """Whether this process does what only one of those that share the log shall do."""
        ...

    def waiting(self) -> int:
        """Return how many records are known to wait unplanned, without those of partitions that are held."""
        ...

    def hold(self, run: DeadLetterRun) -> None:
        """Read nothing more of a partition from `run.offset` on, which is not planned; its position stays there.

        It is read again once a plan of the partition is discarded, or another member or a new process has it.
        """
        ...

    def held(self) -> list[DeadLetterRun]:
        """Return why partitions of this process are held. Any thread may ask."""
        ...

    @property
    def assignments(self) -> int:
        """A number that changes when this process is given partitions: others may have read them meanwhile."""
        ...

    def lag(self) -> Lag:
        """Return how much of this process's share of the log is not acknowledged."""
        ...


def ranges_of(records: Sequence[Record]) -> tuple[Range, ...]:
    """Return the offset ranges that records cover, one a partition."""
    spans: dict[int, tuple[int, int]] = {}
    for record in records:
        first, _ = spans.get(record.partition, (record.offset - record.lost_before, 0))
        spans[record.partition] = (first, record.offset + 1)
    return tuple(Range(partition, *span) for partition, span in sorted(spans.items()))
