"""An event as the store keeps it, and as a block of columns.

Owns: `Event`, the 128-bit key of (source, id), the Arrow schema of a block of events.
Source: docs/design.md R7, R10; CloudEvents 1.0.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import pyarrow as pa


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
    source_bytes = source.encode()
    return blake2b(b"%d:%b%b" % (len(source_bytes), source_bytes, id_.encode()), digest_size=16).digest()


_MILLISECOND = pa.timestamp("ms", "UTC")
EVENT_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("type", pa.string()),
        ("subject", pa.string()),
        ("time", _MILLISECOND),
        ("data", pa.string()),
        ("extensions", pa.string()),
        ("arrived_at", _MILLISECOND),
        ("stored_at", _MILLISECOND),
        ("log_partition", pa.int32()),
        ("log_offset", pa.int64()),
        ("key", pa.binary(16)),
    ]
)


def event_block(events: Sequence[Event], stored_ms: int) -> pa.Table:
    """Return events as one block of the table `events`, all stored at `stored_ms`."""
    ids, sources, types, subjects, times, datas, extensions, arrived, partitions, offsets, keys = zip(
        *events, strict=True
    )
    columns = [
        ids, sources, types, subjects, pa.array(times, _MILLISECOND),
        pa.array(datas, pa.binary()).cast(pa.string()), pa.array(extensions, pa.binary()).cast(pa.string()),
        pa.array(arrived, _MILLISECOND), pa.array([stored_ms] * len(events), _MILLISECOND), partitions, offsets, keys,
    ]  # fmt: skip
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for column, field in zip(columns, EVENT_SCHEMA, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=EVENT_SCHEMA)
