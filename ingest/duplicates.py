"""Which events of a batch are stored already, or come twice within it.

Owns: the answer to "is this (source, id) known under another log position?". The durable rows decide: the memory
filter only spares look-ups of keys nobody has seen. A batch's own rows, left by an attempt that died, are at the
batch's own positions and therefore no duplicates of themselves; so a retry drops exactly what the first try dropped.
Source: docs/design.md R10, R11.
"""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from engine import sql
from engine.events import Event
from engine.store import Store
from ingest.seen import SeenKeys, as_keys

_LOOK_UP_KEYS = 10_000  # keys a statement carries at most
_RANGES = [(f"{first:x}0" + "00" * 15, f"{first:x}f" + "ff" * 15) for first in range(16)]


class Duplicates:
    """Finds duplicates against one store. Not thread-safe: one consumer owns it."""

    def __init__(self, store: Store, window: timedelta) -> None:
        self._store = store
        self._window_ms = round(window.total_seconds() * 1000)
        self._seen = SeenKeys()

    def load(self, now_ms: int) -> int:
        """Fill the filter with the keys stored within the window. Returns their number."""
        self._seen = SeenKeys()
        for first, last in _RANGES:
            table = self._store.arrow(
                sql.statement("ingest/keys_in_range"), first=first, last=last, since_ms=now_ms - self._window_ms
            )
            columns = [table.column(name).to_numpy() for name in ("high", "low")]
            self._seen.add(np.stack(columns, axis=1).astype(np.uint64, copy=False))
        return self._seen.count

    def drop(self, events: Sequence[Event], stored_ms: int) -> list[Event]:
        """Return the events to store, in their order: the first of each key that is not stored elsewhere.

        Args: stored_ms: the batch's stamp; keys stored longer before it than the window are forgotten.
        """
        if not events:
            return []
        firsts: dict[bytes, Event] = {}
        for event in events:
            firsts.setdefault(event.key, event)
        unique = list(firsts.values())
        perhaps = self._seen.contains(as_keys(list(firsts)))
        suspects = {
            event.key: (event.partition, event.offset) for event, seen in zip(unique, perhaps, strict=True) if seen
        }
        known = self._known(suspects, stored_ms - self._window_ms)
        return [event for event in unique if event.key not in known]

    def remember(self, events: Sequence[Event]) -> None:
        """Put the keys of stored events into the filter."""
        if events:
            self._seen.add(as_keys([event.key for event in events]))

    def _known(self, suspects: dict[bytes, tuple[int, int]], since_ms: int) -> set[bytes]:
        """Return the suspects that are stored under a position other than theirs."""
        keys = list(suspects)
        known = set()
        for start in range(0, len(keys), _LOOK_UP_KEYS):
            chunk = [key.hex() for key in keys[start : start + _LOOK_UP_KEYS]]
            table = self._store.arrow(sql.statement("ingest/known_keys"), keys=chunk, since_ms=since_ms)
            columns = (table.column(name).to_pylist() for name in ("key", "log_partition", "log_offset"))
            known |= {key for key, *position in zip(*columns, strict=True) if tuple(position) != suspects[key]}
        return known
