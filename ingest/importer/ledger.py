"""The outcome of each row that an import has sent: stored, stored before, counted by no meter, or not stored yet.

Owns: the rows that were sent and whose outcome is not known. Outcomes are taken in the order of the file, so that a
position covers every row before it. The server is asked about some thousands of rows at a time while the import goes
on. The import waits for answers only when too many rows are open.
If the stamp of a stored event is from the time before the import, the event was stored before. A row with the id of an
earlier row of the file is not stored again; derived ids (ingest/importer/rows.py) never repeat.
Limits: at most `MAX_OPEN_ROWS` rows whose outcome is not known; 8 bytes of memory per row if ids may repeat.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec
import numpy as np

from engine.events.event import event_key
from engine.events.outcome import EventName, Outcome
from ingest.importer.positions import ImportPosition
from ingest.importer.rows import Occurrences, Row

ROWS_PER_QUERY = 50_000  # in a large store a query costs the same for few rows and for many
MAX_OPEN_ROWS = 100_000
QUERY_SECONDS = 1.0  # the least time between two queries, which is also at least twice what a query took
# give up waiting if for so long no further row was stored, though nothing waits in the server's log
STALL_SECONDS = 60.0
_LAST_ROWS = 20  # named in the position, to find out later whether the store still has them
_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)


class _Identity(msgspec.Struct):
    source: str
    id: str


_identity = msgspec.json.Decoder(_Identity)


def _has_identity(row: Row) -> bool:
    try:
        return isinstance(row.event, bytes) and bool(_identity.decode(row.event))
    except msgspec.DecodeError:
        return False


class OutcomeSource(Protocol):
    """What knows the outcome of events."""

    def outcomes(self, names: Sequence[EventName], explain_after_ms: int) -> list[Outcome]:
        """Return each event's outcome, explained if it was stored after `explain_after_ms` (Unix milliseconds)."""
        ...

    def wait_until_stored(self, on_wait: Callable[[int], None]) -> None:
        """Return once everything that was sent is usage. `on_wait` is called with the number of records that wait."""
        ...


@dataclass(frozen=True, slots=True)
class _OpenBatch:
    """Rows up to number `row` whose outcome is not known. `names`: of the rows sent; None if the id came before."""

    row: int
    skipped: int
    names: Mapping[int, EventName | None]


class Ledger:
    """The rows that were sent, until their outcome is known.

    Args: on_resolved: is called with the position whenever it has moved on. on_uncounted: is called with the number of
    each row whose event not every meter counts, and the reason.
    """

    def __init__(
        self,
        source: OutcomeSource,
        position: ImportPosition,
        ids_may_repeat: bool,
        on_resolved: Callable[[ImportPosition], None],
        on_uncounted: Callable[[int, str], None],
    ) -> None:
        self.position = position
        self._source = source
        self._occurrences = Occurrences() if ids_may_repeat else None
        self._on_resolved = on_resolved
        self._on_uncounted = on_uncounted
        self._open_batches: list[_OpenBatch] = []
        self._found_outcomes: dict[int, Outcome] = {}  # of open rows after one whose outcome is not known
        self._next_query = time.monotonic() + QUERY_SECONDS
        self._stall_seconds = STALL_SECONDS

    def remember_ids(self, rows: Sequence[Row]) -> None:
        """Remember the ids of rows that an earlier run has sent, or left out: some of these have no id."""
        self._event_names([row for row in rows if _has_identity(row)])

    def add(self, rows: Sequence[Row], sent: Sequence[Row]) -> None:
        """Add the next rows of the file, of which `sent` are durable; the others were left out."""
        self._open_batches.append(_OpenBatch(rows[-1].number, len(rows) - len(sent), self._event_names(sent)))
        if self._count_open_rows() > MAX_OPEN_ROWS:
            self._resolve(self._oldest_batches(), wait=True)
        elif time.monotonic() >= self._next_query:
            self._resolve(self._oldest_batches(), wait=False)

    def close(self, on_wait: Callable[[int], None]) -> None:
        """Return once the outcome of every row is known, or the row counts as late."""
        if self._open_batches:
            self._source.wait_until_stored(on_wait)
        while self._open_batches:
            self._resolve(self._oldest_batches(), wait=True)

    def _event_names(self, rows: Sequence[Row]) -> dict[int, EventName | None]:
        names: dict[int, EventName | None] = {}
        for row in rows:
            if isinstance(row.event, bytes):
                identity = _identity.decode(row.event)
                names[row.number] = EventName(identity.source, identity.id)
        if self._occurrences and names:
            keys = np.frombuffer(b"".join([event_key(*name)[:8] for name in names.values() if name]), dtype="<u8")
            times = self._occurrences.count(keys).tolist()
            again = {number for number, time_ in zip(names, times, strict=True) if time_ > 1}
            return {number: None if number in again else name for number, name in names.items()}
        return names

    def _count_open_rows(self) -> int:
        return sum(len(batch.names) for batch in self._open_batches)

    def _oldest_batches(self) -> list[_OpenBatch]:
        """Return the first batches, with at most `ROWS_PER_QUERY` rows together, but at least one batch."""
        rows, oldest = 0, list[_OpenBatch]()
        for batch in self._open_batches:
            rows += len(batch.names)
            if oldest and rows > ROWS_PER_QUERY:
                break
            oldest.append(batch)
        return oldest

    def _resolve(self, batches: Sequence[_OpenBatch], wait: bool) -> None:
        """Process the outcomes of batches. Without `wait`, stop at the first batch that is not stored completely."""
        names = {number: name for batch in batches for number, name in batch.names.items() if name}
        began = time.monotonic()
        self._find_outcomes(names, wait)
        self._next_query = time.monotonic() + max(QUERY_SECONDS, 2 * (time.monotonic() - began))
        done = 0
        for batch in batches:
            if not wait and any(name and number not in self._found_outcomes for number, name in batch.names.items()):
                break
            self._count_batch(batch)
            done += 1
        if done:
            del self._open_batches[:done]
            self._on_resolved(self.position)

    def _find_outcomes(self, names: Mapping[int, EventName], wait: bool) -> None:
        """Find the outcomes of rows. With `wait`, continue until all are known or no further row gets stored."""
        self._query_outcomes(names)
        pauses, waited_since = iter(_PAUSES), time.monotonic()
        while wait and not names.keys() <= self._found_outcomes.keys():
            if time.monotonic() - waited_since >= self._stall_seconds:
                self._stall_seconds = 0  # nothing stores them: the next rows are not waited for again
                break
            time.sleep(next(pauses, _PAUSES[-1]))
            self._source.wait_until_stored(lambda _: None)
            if self._query_outcomes(names):
                pauses, waited_since = iter(_PAUSES), time.monotonic()

    def _query_outcomes(self, names: Mapping[int, EventName]) -> bool:
        """Query the rows whose outcome is not known. Returns whether any became known."""
        unknown = {number: name for number, name in names.items() if number not in self._found_outcomes}
        before = len(self._found_outcomes)
        outcomes = self._source.outcomes([*unknown.values()], self.position.since_ms) if unknown else []
        for number, outcome in zip(unknown, outcomes, strict=True):
            if outcome.stored_ms is not None:
                self._found_outcomes[number] = outcome
        return len(self._found_outcomes) > before

    def _count_batch(self, batch: _OpenBatch) -> None:
        stored = uncounted = late = 0
        last = [*self.position.last]
        for number, name in batch.names.items():
            outcome = self._found_outcomes.pop(number, None)
            if name and outcome:
                last.append(name)
            if name and outcome is None:
                late += 1
            elif outcome and outcome.stored_ms is not None and outcome.stored_ms > self.position.since_ms:
                stored += 1
                if outcome.validation_error is not None:
                    uncounted += 1
                    self._on_uncounted(number, outcome.validation_error)
        done = self.position
        self.position = replace(
            done,
            row=batch.row,
            read=done.read + len(batch.names) + batch.skipped,
            stored=done.stored + stored,
            uncounted=done.uncounted + uncounted,
            known=done.known + len(batch.names) - stored - late,
            late=done.late + late,
            skipped=done.skipped + batch.skipped,
            last=tuple(last[-_LAST_ROWS:]),
        )
