"""Records that could not become an event: kept with their reason, and counted, lest a bad deploy drain the log away.

Owns: `DeadLetter`, its block, which of them are kept already, and the count of how many come in a row in a partition.
Source: docs/design.md R8.
"""

from base64 import b64decode
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import orjson
import pyarrow as pa

from engine.store import sql
from engine.store.clickhouse import Store
from ingest.event_log import DeadLetterRun, Headers, Record

_TIMESTAMP = pa.timestamp("ms", "UTC")


class DeadLetter(NamedTuple):
    """A record and why it is no event."""

    record: Record
    reason: str


class DeadLetterSink(Protocol):
    """Where dead letters are sent besides the store: at least once each."""

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Make letters durable there. Raises: LogUnavailable."""
        ...


class DeadLetterRuns:
    """How many records in a row are no events, for each partition. `limit` of them are too many. Not thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._runs: dict[int, tuple[int, int]] = {}  # by partition: the first offset and how many

    @property
    def is_counting(self) -> bool:
        """Whether the last record of some partition was none."""
        return bool(self._runs)

    def reset(self) -> None:
        """Begin again: records are read again, or others have read some meanwhile."""
        self._runs.clear()

    def count(self, outcomes: Iterable[tuple[int, DeadLetter | None]]) -> DeadLetterRun | None:
        """Count what became of records, in their order: the partition, and the dead letter, None for an event.

        Returns the first run that is too long; nothing is counted then.
        """
        runs = dict(self._runs)
        first_here: dict[int, int] = {}  # where the runs begin among these records
        for partition, letter in outcomes:
            if letter is None:
                runs.pop(partition, None)
                first_here.pop(partition, None)
            elif not letter.record.loss:  # what the log has lost is no fault of producers
                offset = letter.record.offset
                first, count = runs.get(partition, (offset, 0))
                runs[partition] = first, count + 1
                first_here.setdefault(partition, offset)
                if count + 1 >= self._limit:
                    return DeadLetterRun(partition, first, first_here[partition], count + 1, letter.reason)
        self._runs = runs
        return None


def new_letters(store: Store, letters: Sequence[DeadLetter], stored_ms: int) -> list[DeadLetter]:
    """Return the letters that another plan has not kept already: a topic may be read from its beginning again."""
    arrived = sorted({letter.record.arrived_ms for letter in letters})
    rows = store.rows(sql.statement("ingest/known_dead_letters"), arrived_ms=arrived)
    known = {(partition, offset, arrived_ms) for partition, offset, arrived_ms, kept_ms in rows if kept_ms != stored_ms}
    without_timestamp = [letter.record for letter in letters if letter.record.arrived_ms == stored_ms]
    known |= _stored_without_timestamp(store, without_timestamp, stored_ms)
    return [letter for letter in letters if _position(letter.record) not in known]


def _position(record: Record) -> tuple[int, int, int]:
    return record.partition, record.offset, record.arrived_ms


def _stored_without_timestamp(store: Store, records: Sequence[Record], stored_ms: int) -> set[tuple[int, int, int]]:
    """Return the positions of those records that another plan has kept, all of which arrived by our clock."""
    if not records:
        return set()
    positions = {
        "partitions": [record.partition for record in records],
        "offsets": [record.offset for record in records],
    }
    rows = store.rows(sql.statement("ingest/known_undated_letters"), **positions)
    kept = {(partition, offset, b64decode(value)) for partition, offset, kept_ms, value in rows if kept_ms != stored_ms}
    return {_position(record) for record in records if (record.partition, record.offset, record.value or b"") in kept}


def dead_letter_block(letters: Sequence[DeadLetter], stored_ms: int) -> pa.Table:
    """Return dead letters as one block of the table `dead_letters`."""
    records = [letter.record for letter in letters]
    return pa.table(
        {
            "arrived_at": pa.array([record.arrived_ms for record in records], _TIMESTAMP),
            "stored_at": pa.array([stored_ms] * len(records), _TIMESTAMP),
            "log_partition": pa.array([record.partition for record in records], pa.int32()),
            "log_offset": pa.array([record.offset for record in records], pa.int64()),
            "reason": pa.array([letter.reason for letter in letters], pa.string()),
            "value": pa.array([record.value or b"" for record in records], pa.binary()),
            "headers": pa.array([headers_text(record.headers) for record in records], pa.string()),
        }
    )


def headers_text(headers: Headers | None) -> str:
    """Return headers as a JSON list of [name, value or null], "" if there are none; what is not UTF-8 is replaced."""
    if not headers:
        return ""
    texts = [[name, None if value is None else value.decode("utf-8", "replace")] for name, value in headers]
    return orjson.dumps(texts).decode()
