"""The event log as the consumer sees it: records by offset, and a plan for each batch that outlives the process.

Owns: `Record`, `Range`, `Plan` and the port `EventLog`. Every implementation keeps this contract:

- `read` returns the records after the last planned ones, in order of (partition, offset). Reading commits nothing.
- `plan` makes a batch durable before the batch is inserted, and acknowledges every batch planned before it.
- `acknowledge` reports that a batch is in the store. A plan that is not acknowledged is `pending` for the next reader.
- `reread` returns exactly the records of a plan's ranges, any number of times until the plan is acknowledged.
- Processes may share a log: at any moment, another process may be given what this one has read, except while a plan is
  being made.

Source: docs/design.md R3 (durable append), R6 (a plan before its insert).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from engine.instants import LAST_MS

SEE_GAPS = '(docs/operations.md "Gaps")'  # ends what is logged about a gap
LATEST_STAMP_MS = LAST_MS  # events cannot have later times, so a correct clock never gives a later stamp

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]


class Record(NamedTuple):
    """One record of the log. `arrived_ms`: Unix milliseconds at which the log accepted it. `value`: the event's JSON.

    `loss`: "" for a record that can be decoded. Otherwise the record stands for a gap, and `loss` says why there is
    nothing to decode: the log no longer has what it held from this offset on. If `lost_before` is not 0, the gap also
    covers that many offsets before this one.
    """

    partition: int
    offset: int
    arrived_ms: int
    value: bytes | None
    headers: Headers | None = None
    loss: str = ""
    lost_before: int = 0


class Range(NamedTuple):
    """The offsets [start, end) of one partition of the log."""

    partition: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What one batch inserts: the ranges of its records, and its stamp.

    `stored_ms`: the stamp: the instant (Unix milliseconds) that all its rows have as `stored_at`.
    """

    ranges: tuple[Range, ...]
    stored_ms: int

    @property
    def token(self) -> str:
        """The deduplication token: a hash of exactly these ranges and this stamp, the same in every process.

        The stamp distinguishes a topic that is read from its beginning again, or was created again, from what was read
        before.
        """
        ranges = ";".join(f"{partition}:{start}-{end}" for partition, start, end in sorted(self.ranges))
        return hashlib.sha256(f"{self.stored_ms};{ranges}".encode()).hexdigest()[:32]


class DeadLetterRun(NamedTuple):
    """A run of bad records: too many records in a row are not events, so their partition is held at `offset`.

    `offset`: the partition is not read from here on. `first`: the first offset of the run; the records from `first` up
    to `offset` were stored as dead letters. `records`: the length of the run. `reason`: why the last record is no
    event.
    """

    partition: int
    first: int
    offset: int
    records: int
    reason: str


@dataclass(frozen=True, slots=True)
class Lag:
    """How much the log holds that is not stored yet, in records and bytes. NaN means that it is not known."""

    records: float
    bytes: float


class EventLog(Protocol):
    """A durable log of events, as the consumer reads it. Any call may raise LogUnavailable: the caller tries again."""

    @property
    def name(self) -> str:
        """The name that distinguishes this log from other logs that feed the same store."""
        ...

    def read(self, max_records: int, max_bytes: int, timeout_seconds: float) -> list[Record]:
        """Return the next records. Wait up to `timeout_seconds` for the first record, but for no further ones.

        At least one record is returned, however large it is.
        """
        ...

    def plan(self, ranges: tuple[Range, ...], stored_ms: int) -> Plan | None:
        """Make a plan of these ranges durable. The next `read` continues after them.

        Returns None if another process was given some of the ranges since they were read: read again.
        After LogUnavailable the plan may or may not be durable. Planning the same ranges again resolves this.
        """
        ...

    def acknowledge(self, plan: Plan) -> None:
        """Report that a planned batch is in the store. After LogUnavailable the plan is still pending."""
        ...

    def release(self, plan: Plan) -> None:
        """Report that a plan is in the store although another member may own its partitions now.

        Allowed only for a store that no other process writes to: then no other process can be running the plan. The log
        commits the end of the plan together with the next plan or acknowledgement.
        """
        ...

    def discard(self, plan: Plan) -> None:
        """Give up a plan of which nothing will be inserted. Its records are read and planned again."""
        ...

    def is_current(self, plan: Plan) -> bool:
        """Return whether the plan is still to be inserted. False: another process has taken it over and finished it."""
        ...

    def pending(self) -> list[Plan]:
        """Return the plans that other processes, or an earlier run of this one, left unfinished: run them first."""
        ...

    def reread(self, plan: Plan) -> list[Record]:
        """Return the records of a pending plan."""
        ...

    def planned(self) -> list[Plan]:
        """Return every plan that is not acknowledged, whichever process runs it."""
        ...

    def is_leader(self) -> bool:
        """Return whether this process does the work that only one of the processes sharing the log may do."""
        ...

    def waiting(self) -> int:
        """Return how many records are known to wait unplanned. Partitions that are held are not counted."""
        ...

    def hold(self, run: DeadLetterRun) -> None:
        """Stop reading a partition at `run.offset`, which is not planned. The position of the partition stays there.

        The partition is read again when one of its plans is discarded, or when another member or a new process owns it.
        """
        ...

    def held(self) -> list[DeadLetterRun]:
        """Return why partitions of this process are held. Any thread may call it."""
        ...

    @property
    def assignments(self) -> int:
        """A number that changes when this process is given partitions: other processes may have read them meanwhile."""
        ...

    def lag(self) -> Lag:
        """Return how much of this process's share of the log is not acknowledged."""
        ...


def ranges_of(records: Sequence[Record]) -> tuple[Range, ...]:
    """Return the offset ranges that the records cover, one range for each partition."""
    spans: dict[int, tuple[int, int]] = {}
    for record in records:
        first, _ = spans.get(record.partition, (record.offset - record.lost_before, 0))
        spans[record.partition] = (first, record.offset + 1)
    return tuple(Range(partition, *span) for partition, span in sorted(spans.items()))
