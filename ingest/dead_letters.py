"""Records that could not become an event are kept with their reason, and runs of them are counted.

Owns: `DeadLetter`, its block, which dead letters are kept already, and how many come in a row in a partition. That
count has a limit, so that a bad deployment of a producer cannot turn the whole log into dead letters.
Source: docs/design.md R8 (dead letters).
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
    """A record, and the reason why it is not an event."""

    record: Record
    reason: str


class DeadLetterSink(Protocol):
    """Where dead letters are sent in addition to the store: each at least once."""

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Send letters and wait until they are durable. Raises: LogUnavailable."""
        ...


class DeadLetterRuns:
    """Counts, by partition, how many records in a row are not events. `limit` of them are too many. Not thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._runs: dict[int, tuple[int, int]] = {}  # by partition: the first offset of the run, and its length

    @property
    def is_counting(self) -> bool:
        """Whether the last record of some partition was not an event."""
        return bool(self._runs)

    def reset(self) -> None:
        """Count from 0 again: records are read again, or other processes have read some meanwhile."""
        self._runs.clear()

    def count(self, outcomes: Iterable[tuple[int, DeadLetter | None]]) -> DeadLetterRun | None:
        """Count the outcomes of records, in their order: the partition, and the dead letter, or None for an event.

        Returns the first run that is too long. Then none of these outcomes is counted.
        """
        runs = dict(self._runs)
        first_here: dict[int, int] = {}  # the first offset of each run among these records
        for partition, letter in outcomes:
            if letter is None:
                runs.pop(partition, None)
                first_here.pop(partition, None)
            elif not letter.record.loss:  # records that the log has lost are no fault of producers
                offset = letter.record.offset
                first, count = runs.get(partition, (offset, 0))
                runs[partition] = first, count + 1
                first_here.setdefault(partition, offset)
                if count + 1 >= self._limit:
                    return DeadLetterRun(partition, first, first_here[partition], count + 1, letter.reason)
        self._runs = runs
        return None


def new_letters(store: Store, letters: Sequence[DeadLetter], stored_ms: int) -> list[DeadLetter]:
    """Return the letters that no other plan has kept already: a topic may be read from its beginning again."""
    arrived = sorted({letter.record.arrived_ms for letter in letters})
    rows = store.rows(sql.statement("ingest/known_dead_letters"), arrived_ms=arrived)
    known = {(partition, offset, arrived_ms) for partition, offset, arrived_ms, kept_ms in rows if kept_ms != stored_ms}
    without_timestamp = [letter.record for letter in letters if letter.record.arrived_ms == stored_ms]
    known |= _stored_without_timestamp(store, without_timestamp, stored_ms)
    return [letter for letter in letters if _position(letter.record) not in known]


def _position(record: Record) -> tuple[int, int, int]:
    return record.partition, record.offset, record.arrived_ms


def _stored_without_timestamp(store: Store, records: Sequence[Record], stored_ms: int) -> set[tuple[int, int, int]]:
    """Return the positions of those records that another plan has kept.

    Their arrival cannot be compared, because it was replaced by the stamp of the plan: their value is compared instead.
    """
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
    """Return headers as a JSON list of [name, value or null], "" if there are none; replace what is not UTF-8."""
    if not headers:
        return ""
    texts = [[name, None if value is None else value.decode("utf-8", "replace")] for name, value in headers]
    return orjson.dumps(texts).decode()
