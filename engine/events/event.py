"""An event as it is stored, and many events as columns and as a block.

Owns: `Event`, the 128-bit key of (source, id), `EventBatch`, and the Arrow schema of a block of events.
Source: docs/design.md R7 (blocks), R10 (duplicates); CloudEvents 1.0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Keys: TypeAlias = npt.NDArray[np.uint64]  # shape (n, 2): the two halves of each key
Numbers: TypeAlias = npt.NDArray[np.int64]


class Event(NamedTuple):
    """A decoded event. `time_ms` and `arrived_ms` are Unix milliseconds.

    `data`: the JSON text as it was sent, b"" if it is absent. `extensions`: all other CloudEvents attributes as the
    text of a JSON object, b"" if there are none.
    """

    id: str
    source: str
    type: str
    subject: str
    time_ms: int
    data: bytes
    extensions: bytes
    arrived_ms: int
    partition: int
    offset: int
    key: bytes


def event_key(source: str, id_: str) -> bytes:
    """Return the 16-byte key of an event, which is a hash of the source's length, the source and the id.

    With a separator instead of the length, `a-b` + `c` and `a` + `b-c` would have the same key. The hash needs no
    secret key, but it must be collision-resistant: a producer who can construct two equal keys could make the event of
    somebody else look like a duplicate.
    """
    state = _source_hash(source).copy()
    state.update(id_.encode())
    return state.digest()


@lru_cache(maxsize=1024)
def _source_hash(source: str) -> blake2b:
    """Return the hash state after the source. Callers copy it and never update it, because it is cached."""
    text = source.encode()
    return blake2b(b"%d:%b" % (len(text), text), digest_size=16)


_MILLISECOND = pa.timestamp("ms", "UTC")
_STORED_AT = pa.field("stored_at", _MILLISECOND)
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("type", pa.string()),
        ("subject", pa.string()),
        ("time", _MILLISECOND),
        ("data", pa.large_string()),
        ("extensions", pa.string()),
        ("arrived_at", _MILLISECOND),
        ("log_partition", pa.int32()),
        ("log_offset", pa.int64()),
        ("key", pa.binary(16)),
    ]
)


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events as Arrow columns. The order of events is kept; only the stamp of the block (`stored_at`) is missing."""

    columns: pa.RecordBatch

    @classmethod
    def of(cls, *columns: Sequence[object] | pa.Array) -> "EventBatch":
        """Return a batch from columns, one for each field of `Event` and in the same order."""
        arrays = [
            column if isinstance(column, pa.Array) else pa.array(column, field.type)
            for column, field in zip(columns, _SCHEMA, strict=True)
        ]
        return cls(pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA))

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    @property
    def keys(self) -> Keys:
        column = self.columns.column("key")
        halves = np.frombuffer(column.buffers()[1], dtype="<u8").reshape(-1, 2)
        return halves[column.offset : column.offset + len(column)]

    @property
    def times_ms(self) -> Numbers:
        times: Numbers = self.columns.column("time").cast(pa.int64()).to_numpy()
        return times

    def first(self, count: int) -> "EventBatch":
        """Return the first `count` events."""
        return EventBatch(self.columns.slice(0, count))

    def where(self, kept: npt.NDArray[np.bool_]) -> "EventBatch":
        """Return the events whose entry in the mask `kept` is true."""
        return self if kept.all() else EventBatch(self.columns.filter(pa.array(kept)))

    def keys_with_positions(self) -> Iterator[tuple[bytes, int, int]]:
        """Yield the key, the partition and the offset of each event."""
        columns = (self.columns.column(name).to_pylist() for name in ("key", "log_partition", "log_offset"))
        return zip(*columns, strict=True)

    def take(self, rows: Numbers) -> "EventBatch":
        """Return the events at the given row indexes, in this order."""
        return EventBatch(self.columns.take(pa.array(rows)))

    def block(self, stored_ms: int) -> pa.Table:
        """Return the events as one block of the table `events`, with the stamp `stored_ms` (Unix milliseconds)."""
        stamps = pa.array(np.full(len(self), stored_ms), _MILLISECOND)
        return pa.Table.from_batches([self.columns]).append_column(_STORED_AT, stamps)


def event_block(events: Sequence[Event], stored_ms: int) -> pa.Table:
    """Return events as one block of the table `events`, with the stamp `stored_ms` (Unix milliseconds)."""
    return EventBatch.of(*zip(*events, strict=True)).block(stored_ms)
