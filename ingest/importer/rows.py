"""Rows of a file, and the derived ids of rows that have none.

Owns: `Row`, and the rule of derived ids. A derived id consists of a hash and a number. The hash covers what the row
means after the mapping: source, type, subject, time as an instant, and the cells that become data with the names of
their columns. The number counts occurrences: of equal rows of one file the first has 1, the next has 2. The position of
a row, and the name, format and compression of its file are not part of the id, so the same rows in another file are the
same events.
Limits: 8 bytes of memory per row, plus about 64 MiB while two layers are merged. Two contents with the same first 64
bits of their hash would be numbered as one (for 20 million rows the probability is 1 in 100,000). Their ids still
differ, because an id holds 128 bits, and are the same in every run over the same rows.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.errors import InvalidEvent

Fingerprints = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]
EVENT_START = '{"specversion":"1.0","id":"'  # the start of an event's JSON that has a derived id
_HEX = 32
_FINGERPRINT = slice(len(EVENT_START), len(EVENT_START) + 16)
_ID_END = len(EVENT_START) + _HEX
_CHUNK_ROWS = 4096
_CHUNK_BYTES = 8 << 20
_LARGEST_LAYER = 1 << 22


@dataclass(frozen=True, slots=True)
class Row:
    """A row. `event`: its CloudEvent in JSON, or why there is none. `number`: counts from 1, without the header."""

    number: int
    event: bytes | InvalidEvent


def content_id(texts: Sequence[str]) -> str:
    """Return the derived id of the first row with this content; `number_occurrences` changes the ids of the others."""
    content = "".join([f"{len(text)}:{text}" for text in texts])
    return f"{hashlib.blake2b(content.encode(), digest_size=_HEX // 2).hexdigest()}-1"


class Occurrences:
    """Counts how often each fingerprint has come. Keeps sorted layers, and merges layers of similar size."""

    def __init__(self) -> None:
        self._layers: list[Fingerprints] = []

    def count(self, fingerprints: Fingerprints) -> Counts:
        """Add fingerprints. Returns the number of the occurrence of each, counted from 1."""
        order = np.argsort(fingerprints, kind="stable")
        ordered = fingerprints[order]
        numbers = np.arange(1, len(ordered) + 1) - np.searchsorted(ordered, ordered)
        for layer in self._layers:
            numbers += _count_in_layer(layer, ordered)
        found = np.empty(len(ordered), dtype=np.int64)
        found[order] = numbers
        self._add(ordered)
        return found

    def _add(self, ordered: Fingerprints) -> None:
        if len(ordered):
            self._layers.append(ordered)
        while len(self._layers) > 1 and self._should_merge(len(self._layers[-2]), len(self._layers[-1])):
            merged = np.concatenate(self._layers[-2:])
            merged.sort(kind="stable")  # merges two sorted runs in linear time
            self._layers[-2:] = [merged]

    def _should_merge(self, older: int, newer: int) -> bool:
        return older <= 2 * newer and older + newer <= _LARGEST_LAYER


def _count_in_layer(layer: Fingerprints, ordered: Fingerprints) -> Counts:
    """Return for each of the sorted fingerprints how often a layer holds it."""
    first = np.searchsorted(layer, ordered)
    times = np.zeros(len(ordered), dtype=np.int64)
    held = np.flatnonzero(layer[np.minimum(first, len(layer) - 1)] == ordered)
    times[held] = np.searchsorted(layer, ordered[held], side="right") - first[held]
    return times


def number_occurrences(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield rows whose events have derived ids, with the number of the occurrence in each id.

    Some thousands of rows are looked up at a time. An error of `rows` is raised after the rows that came before it.
    """
    occurrences = Occurrences()
    chunk: list[Row] = []
    size = 0
    try:
        for row in rows:
            chunk.append(row)
            size += len(row.event) if isinstance(row.event, bytes) else 0
            if len(chunk) == _CHUNK_ROWS or size > _CHUNK_BYTES:
                full, chunk, size = chunk, [], 0
                yield from _number_chunk(full, occurrences)
    except Exception:
        yield from _number_chunk(chunk, occurrences)
        raise
    yield from _number_chunk(chunk, occurrences)


def _number_chunk(chunk: Sequence[Row], occurrences: Occurrences) -> Iterator[Row]:
    events = [row.event for row in chunk if isinstance(row.event, bytes)]
    fingerprints = np.frombuffer(bytes.fromhex("".join([event[_FINGERPRINT].decode() for event in events])), ">u8")
    numbers = iter(occurrences.count(fingerprints.astype(np.uint64)).tolist())
    for row in chunk:
        number = next(numbers) if isinstance(row.event, bytes) else 1
        yield row if number == 1 else Row(row.number, _with_number(row.event, number))


def _with_number(event: bytes | InvalidEvent, number: int) -> bytes:
    assert isinstance(event, bytes)  # noqa: S101 - only events have a number
    return event[:_ID_END] + b"-%d" % number + event[_ID_END + len("-1") :]
