"""The event log as ingest sees it: records by offset, and a plan for each batch that outlives the process.

Owns: `Record`, `Range`, `Plan`, the `EventLog` port. Contract, the same for every implementation:

- `append` (engine/ports.py) makes events durable, all or none, before its future is done.
- `read` returns records after the last planned one, in order of (partition, offset); reading commits nothing.
- `plan` makes a batch durable before it is inserted, and acknowledges every batch planned before it.
- `acknowledge` says that a batch is in the store; a plan not acknowledged is `pending` for whoever opens the log next.
- `reread` returns exactly the records of a plan's ranges, as often as asked until it is acknowledged.

Source: docs/design.md R3, R6.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from engine.ports import EventAppender


class Record(NamedTuple):
    """One record of the log. `arrived_ms`: Unix milliseconds at which the log took it. `value`: the event's JSON."""

    partition: int
    offset: int
    arrived_ms: int
    value: bytes


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
        """The deduplication token: a hash of exactly these ranges, whoever runs the plan."""
        text = ";".join(f"{partition}:{start}-{end}" for partition, start, end in sorted(self.ranges))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Lag:
    """What the log holds that is not stored yet."""

    records: int
    bytes: int


class EventLog(EventAppender, Protocol):
    """A durable log of events with one reader."""

    def read(self, max_records: int, max_bytes: int, timeout_seconds: float) -> list[Record]:
        """Return the next records; waits for the first one up to `timeout_seconds`, then for none.

        At least one record is returned however large it is. Raises: LogUnavailable.
        """
        ...

    def plan(self, ranges: tuple[Range, ...], stored_ms: int) -> Plan:
        """Make a plan of these ranges durable; `read` goes on behind it.

        It is stamped `stored_ms`, or later where `settled_before` has promised that nothing is stored so early.
        Raises: LogUnavailable: it may or may not be durable.
        """
        ...

    def acknowledge(self, plan: Plan) -> None:
        """Say that a planned batch is in the store. Raises: LogUnavailable: it is pending still."""
        ...

    def pending(self) -> list[Plan]:
        """Return plans not acknowledged: the first thing a new reader runs."""
        ...

    def reread(self, plan: Plan) -> list[Record]:
        """Return the records of a pending plan."""
        ...

    def settled_before(self, stored_ms: int) -> bool:
        """Whether every batch stamped earlier is in the store. If so, no plan is stamped earlier from now on."""
        ...

    def waiting(self) -> int:
        """Return how many records are not planned yet."""
        ...

    def lag(self) -> Lag:
        """Return how much is not acknowledged."""
        ...


def ranges_of(records: Sequence[Record]) -> tuple[Range, ...]:
    """Return the offset ranges that records cover, one a partition."""
    spans: dict[int, tuple[int, int]] = {}
    for record in records:
        first, _ = spans.get(record.partition, (record.offset, 0))
        spans[record.partition] = (first, record.offset + 1)
    return tuple(Range(partition, *span) for partition, span in sorted(spans.items()))
