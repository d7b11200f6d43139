"""An event as the store keeps it, and many of them as columns and as a block.

Owns: `Event`, the 128-bit key of (source, id), `EventBatch`, the Arrow schema of a block of events.
Source: docs/design.md R7, R10; CloudEvents 1.0.
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
    """One event, decoded. `time_ms`, `arrived_ms`: Unix milliseconds. `data`: the JSON text as sent, "" if absent.

    `extensions`: JSON object text of all further CloudEvents attributes, "" if there are none.
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
    """Return the 16-byte key of an event: a hash of both attributes with their lengths.

    Joining them with a separator would let `a-b` + `c` meet `a` + `b-c`. Keyed hashes are not needed, but one that
    nobody can aim is: a producer that could make two keys meet could make another's event look like a duplicate.
    """
    state = _source_hash(source).copy()
    state.update(id_.encode())
    return state.digest()


@lru_cache(maxsize=1024)
def _source_hash(source: str) -> blake2b:
    """Return the state of an event's hash that has read the source; it is copied, never updated."""
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
    """Events as Arrow columns, in their order: all that the store keeps of them but the stamp of their block."""

    columns: pa.RecordBatch

    @classmethod
    def of(cls, *columns: Sequence[object] | pa.Array) -> "EventBatch":
        """Return the batch of the columns of `Event`, in its order of fields."""
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
        """Return the events at which `kept` holds."""
        return self if kept.all() else EventBatch(self.columns.filter(pa.array(kept)))

    def places(self) -> Iterator[tuple[bytes, int, int]]:
        """Yield the key of each event and its place in the log."""
        columns = (self.columns.column(name).to_pylist() for name in ("key", "log_partition", "log_offset"))
        return zip(*columns, strict=True)

    def at(self, rows: Numbers) -> "EventBatch":
        """Return the events at some rows."""
        return EventBatch(self.columns.take(pa.array(rows)))

    def block(self, stored_ms: int) -> pa.Table:
        """Return them as one block of the table `events`, all stored at `stored_ms`."""
        stamps = pa.array(np.full(len(self), stored_ms), _MILLISECOND)
        return pa.Table.from_batches([self.columns]).append_column(_STORED_AT, stamps)


def event_block(events: Sequence[Event], stored_ms: int) -> pa.Table:
    """Return events as one block of the table `events`, all stored at `stored_ms`."""
    return EventBatch.of(*zip(*events, strict=True)).block(stored_ms)
