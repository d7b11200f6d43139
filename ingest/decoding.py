"""From records of the log to a batch: its events, as columns, and its dead letters.

Owns: `Batch`, and where a batch is cut so that its block spans few months.
The arrival of a record is decided in ingest/arrival_times.py.
Source: docs/design.md R4 (what is accepted is stored), R7 (one insert, one block), R8 (dead letters).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import InvalidEvent
from engine.events.arrival_limits import MAX_AHEAD_MS
from engine.events.bulk_decoder import decode_events
from engine.events.cloudevents import TimeSpan
from engine.events.event import EventBatch, Numbers
from engine.events.kafka import to_structured_json
from engine.instants import milliseconds, utc_now
from ingest.arrival_times import with_credible_arrivals
from ingest.dead_letters import DeadLetter
from ingest.event_log import Record


@dataclass(frozen=True, slots=True)
class Batch:
    """What is stored together: records, and what became of them.

    `as_read`: the records as they were read. In `records` they have the arrival they are stored with.
    """

    records: Sequence[Record]
    events: EventBatch
    letters: Sequence[DeadLetter]
    as_read: Sequence[Record]

    def outcomes(self) -> Iterator[tuple[int, DeadLetter | None]]:
        """Yield for each record, in order, its partition and its dead letter, or None for an event."""
        letters = {(letter.record.partition, letter.record.offset): letter for letter in self.letters}
        for record in self.records:
            yield record.partition, letters.get((record.partition, record.offset))

    def depends_on(self, clock_ms: int) -> bool:
        """Return whether decoding at `clock_ms` may give other rows: some records have no credible arrival."""
        return self.records is not self.as_read or any(
            record.arrived_ms > clock_ms + MAX_AHEAD_MS for record in self.as_read
        )


def decode_records(
    records: Sequence[Record],
    span: TimeSpan,
    max_months: int | None,
    clock_ms: int | None = None,
) -> Batch:
    """Decode records up to the first that would make the block span more than `max_months`; all of them if it is None.

    Args: clock_ms: the arrival of records whose timestamp cannot be true (Unix milliseconds); None: now.
    """
    as_read = records
    records = with_credible_arrivals(as_read, milliseconds(utc_now()) if clock_ms is None else clock_ms)
    reasons: dict[int, str] = {}
    rows: list[int] = []
    values: list[bytes] = []
    for row, record in enumerate(records):
        try:
            values.append(to_structured_json(record.value, record.headers))
            rows.append(row)
        except InvalidEvent as error:
            reasons[row] = record.loss or str(error)
    decodable = [records[row] for row in rows] if reasons else records
    decoded = decode_events(
        values,
        [record.arrived_ms for record in decodable],
        [record.partition for record in decodable],
        [record.offset for record in decodable],
        span,
    )
    reasons |= {rows[index]: str(error) for index, error in decoded.refused}
    count = _count_within_months(decoded.events.times_ms, max_months)
    event_rows = np.array(rows, np.int64)[decoded.indexes]
    end = len(records) if count == len(event_rows) else int(event_rows[count])
    letters = [DeadLetter(records[row], reasons[row]) for row in sorted(reasons) if row < end]
    if records is as_read:
        cut = records[:end]
        return Batch(cut, decoded.events.first(count), letters, cut)
    return Batch(records[:end], decoded.events.first(count), letters, as_read[:end])


def _count_within_months(times_ms: Numbers, max_months: int | None) -> int:
    """Return how many events come before the first one of a calendar month (UTC) beyond `max_months`."""
    _, firsts = np.unique(times_ms.astype("M8[ms]").astype("M8[M]"), return_index=True)
    return len(times_ms) if max_months is None or len(firsts) <= max_months else int(np.sort(firsts)[max_months])
