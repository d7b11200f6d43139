"""Imports files through the same route as any producer's events. An import can be restarted.

Owns: batches, and what happens to a row that is refused. What became of the rows that were sent is in
ingest/importer/ledger.py; how far the import is, in ingest/importer/positions.py. After a run was killed, the next run
may send rows again whose outcome was not known. Their events keep their ids and are dropped as duplicates.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

from engine.errors import InvalidEvent, InvalidRequest, TooLarge
from ingest.importer.event_file import EventFile
from ingest.importer.ledger import Ledger, OutcomeSource
from ingest.importer.positions import ImportPosition, PositionFile
from ingest.importer.rows import Row
from ingest.importer.summary import counted

BATCH_EVENTS = 2000
BATCH_BYTES = 8 << 20


class EventSink(OutcomeSource, Protocol):
    """Where events are sent, and what knows their outcome."""

    def send_events(self, events: Sequence[bytes]) -> Mapping[int, str]:
        """Make events durable, all or none of them. Wait while the server is busy.

        Returns: the reason for each refused event, by its index. If it is empty, all events are durable.
        Raises: TooLarge: they are too long for one request. InvalidEvent: one of them makes the batch invalid, and it
        is not known which.
        """
        ...

    def newest_stamp(self) -> int | None:
        """Return the stamp of the newest batch of events, in Unix milliseconds; None if there is none."""
        ...


class Importer:
    """Moves rows into a sink.

    Args: on_batch: is called with the number of the last row after each batch. on_skip: is called with the number and
    reason of each row that is left out; None: the first such row ends the import. on_uncounted: is called with the
    number and reason of each stored row that some meter of its type does not count. on_position: is called with the
    position where the run begins, and whenever the outcome of more rows is known. on_note: is called with a line for
    the user. window: how long the store finds duplicates.
    """

    def __init__(
        self,
        sink: EventSink,
        positions: PositionFile,
        on_batch: Callable[[int], None] = lambda _: None,
        on_skip: Callable[[int, str], None] | None = None,
        on_uncounted: Callable[[int, str], None] = lambda _, __: None,
        on_position: Callable[[ImportPosition], None] = lambda _: None,
        on_note: Callable[[str], None] = lambda _: None,
        window: timedelta = timedelta(days=35),
    ) -> None:
        self._sink = sink
        self._positions = positions
        self._on_batch = on_batch
        self._on_skip = on_skip
        self._on_uncounted = on_uncounted
        self._on_position = on_position
        self._on_note = on_note
        self._window = window

    def run(
        self, file: EventFile, restart: bool = False, on_wait: Callable[[int], None] = lambda _: None
    ) -> ImportPosition:
        """Import a file from where its earlier run stopped; with `restart`, from its start.

        Returns once the outcome of every row is known. `on_wait` is called with the number of records that wait to be
        stored.
        Raises: InvalidRequest: names file and row; every row before it is durable.
        """
        start = self._start(file, restart)
        self._on_position(start)
        ledger = Ledger(self._sink, start, file.ids_may_repeat, self._on_resolved, self._on_uncounted)
        try:
            for rows in _batches(file.read(after=0 if file.ids_may_repeat else start.row)):
                done = [row for row in rows if row.number <= start.row]
                ledger.remember_ids(done)
                self._deliver(file, ledger, rows[len(done) :])
        except InvalidRequest as error:
            ledger.close(on_wait)  # so that the next run continues here, and this one can report what it has stored
            raise InvalidRequest(f"{error}{_note_on_rows_before(file, ledger.position)}") from None
        ledger.close(on_wait)
        return ledger.position

    def _start(self, file: EventFile, restart: bool) -> ImportPosition:
        """Return an earlier run's position if the store still has its rows, else the position before the first row."""
        saved = None if restart else self._positions.load()
        if saved and self._can_continue(file, saved):
            return saved
        start = ImportPosition(since_ms=self._sink.newest_stamp() or 0, began_ms=time.time_ns() // 1_000_000)
        self._positions.save(start)
        return start

    def _can_continue(self, file: EventFile, saved: ImportPosition) -> bool:
        """Return whether the rows before a position need not be sent again.

        The store may have been emptied, exchanged, or restored from an older copy since then. Once the duplicate window
        has passed, the store forgets ids by itself, and rows that are sent again would count twice: then this is only
        reported.
        """
        outcomes = self._sink.outcomes(saved.last, saved.since_ms) if saved.last else []
        if not saved.sent or (outcomes and all(outcome.stored_ms is not None for outcome in outcomes)):
            return True
        if time.time_ns() // 1_000_000 - saved.began_ms < self._window.total_seconds() * 1000:
            self._on_note(
                f"{file.name}: rows that an earlier run has sent are not in the store, so the import begins again with "
                "the first row; rows that are in the store are not stored twice"
            )
            return False
        self._on_note(
            f"{file.name}: rows that an earlier run has sent are not known to the store. This may be because the "
            f"duplicate window of {counted(self._window.days, 'day')} has passed, so the import continues after row "
            f"{saved.row:,}. If they are lost, give --restart; rows that are still stored are then counted twice"
        )
        return True

    def _on_resolved(self, position: ImportPosition) -> None:
        self._positions.save(position)
        self._on_position(position)

    def _deliver(self, file: EventFile, ledger: Ledger, rows: Sequence[Row]) -> None:
        """Make rows durable, or leave them out. Raises: InvalidRequest: about the first row that is neither."""
        valid = [row for row in rows if isinstance(row.event, bytes)]
        refused = {row.number: str(row.event) for row in rows if isinstance(row.event, InvalidEvent)}
        if not refused or self._on_skip:
            try:
                refused |= self._send(valid)
            except (TooLarge, InvalidEvent) as error:
                self._deliver_halves(file, ledger, rows, error)
                return
        if not refused:
            self._record_batch(ledger, rows, rows)
        elif self._on_skip is None:
            self._stop_before(file, ledger, rows, refused)
        else:
            for number in sorted(refused):
                self._on_skip(number, refused[number])
            self._record_batch(ledger, rows, [row for row in rows if row.number not in refused])

    def _send(self, rows: Sequence[Row]) -> dict[int, str]:
        """Send rows, and send them again without those that are refused. Returns the reasons of these by row number."""
        refused: dict[int, str] = {}
        while rows:
            answer = self._sink.send_events([row.event for row in rows if isinstance(row.event, bytes)])
            refused |= {rows[index].number: reason for index, reason in answer.items()}
            rows = [row for index, row in enumerate(rows) if index not in answer]
            if not answer or self._on_skip is None:
                break
        return refused

    def _deliver_halves(
        self, file: EventFile, ledger: Ledger, rows: Sequence[Row], error: TooLarge | InvalidEvent
    ) -> None:
        """Deliver both halves of a batch that is refused as a whole. A single row is refused for the same reason."""
        if len(rows) > 1:
            self._deliver(file, ledger, rows[: len(rows) // 2])
            self._deliver(file, ledger, rows[len(rows) // 2 :])
        else:
            reason = error if isinstance(error, InvalidEvent) else InvalidEvent("longer than the server accepts")
            self._deliver(file, ledger, [replace(rows[0], event=reason)])

    def _stop_before(self, file: EventFile, ledger: Ledger, rows: Sequence[Row], refused: Mapping[int, str]) -> None:
        first = min(refused)
        before = [row for row in rows if row.number < first]
        if before:
            self._deliver(file, ledger, before)
        raise InvalidRequest(f"{file.label}: row {first}: {refused[first]}")

    def _record_batch(self, ledger: Ledger, rows: Sequence[Row], sent: Sequence[Row]) -> None:
        if rows:
            ledger.add(rows, sent)
            self._on_batch(rows[-1].number)


def _note_on_rows_before(file: EventFile, done: ImportPosition) -> str:
    """Return a note on what became of the rows before the one that ended an import."""
    stored = done.stored + done.known
    if not stored:
        return ""
    is_, they_are = ("is", "it is") if stored == 1 else ("are", "they are")
    again = "" if file.ids_may_repeat else f"; with another mapping {they_are} counted again"
    return f" ({counted(stored, 'row')} before it {is_} stored{again})"


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Group rows into batches by number and bytes. A row that exceeds the limit is a batch of its own."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        length = len(row.event) if isinstance(row.event, bytes) else 0
        if batch and (len(batch) == BATCH_EVENTS or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += length
    if batch:
        yield batch
