"""Which events of a batch are stored already, are being stored by another process, or come twice within it.

Owns: the answer to "is this (source, id) known elsewhere?". The durable rows decide, and for batches under way the
order of claims (ingest/claims.py); the memory filter only spares look-ups of keys nobody has seen. A batch's own rows,
left by an attempt that died, bear the batch's own positions and stamp and are no duplicates of themselves; so a retry
drops exactly what the first try dropped.
Source: docs/design.md R10, R11.
"""

from collections.abc import Callable, Iterable, Sequence, Set
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from engine.errors import LogUnavailable
from engine.events.event import EventBatch, Keys
from engine.instants import Clock, Instant, milliseconds, utc_now
from engine.store import sql
from engine.store.clickhouse import Store
from ingest.bloom_filter import BloomFilter, as_keys
from ingest.claims import KEYS_LIVE_MS, BatchClaims, Claim
from ingest.event_log import Plan

_LOOK_UP_KEYS = 10_000  # keys a statement carries at most
_KEY_BYTES = 16
_RUN_AGAIN = timedelta(days=1)  # so long after it was made a plan that is run again finds what it found then
_RANGES = [(f"{first:x}0" + "00" * 15, f"{first:x}f" + "ff" * 15) for first in range(16)]


class Voided(Exception):
    """The plan must not be stored under its stamp: discard it and plan its records anew."""


class KeysForgotten(Exception):
    """The filter lacks keys of other batches. Load it, run the plans whose keys no claim has, then ask again."""


class Duplicates:
    """Finds duplicates against one store. Not thread-safe: one consumer owns it."""

    def __init__(
        self,
        store: Store,
        claims: BatchClaims,
        planned: Callable[[], Iterable[Plan]],
        window: timedelta,
        clock: Clock = utc_now,
    ) -> None:
        """Args: planned: every plan that somebody may be at (`EventLog.planned`)."""
        self._store = store
        self._claims = claims
        self._planned = planned
        self._window_ms = round(window.total_seconds() * 1000)
        self._clock = clock
        self._seen_ms = self._window_ms + round(_RUN_AGAIN.total_seconds() * 1000)
        self._seen = self._unseen()
        self._incomplete = False  # the filter is to be loaded anew before it is asked

    def load(self) -> int:
        """Fill the filter with the keys stored within the window, or about to be. Returns their number."""
        seen = self._unseen()
        for keys in self._claims.load():
            seen.add(as_keys([keys]))
        since_ms = milliseconds(self._clock()) - self._seen_ms
        for first, last in _RANGES:
            table = self._store.arrow(sql.statement("ingest/keys_in_range"), first=first, last=last, since_ms=since_ms)
            columns = [table.column(name).to_numpy() for name in ("high", "low")]
            seen.add(np.stack(columns, axis=1).astype(np.uint64, copy=False))
        self._seen, self._incomplete = seen, False
        return seen.count

    def _unseen(self) -> BloomFilter:
        return BloomFilter(self._seen_ms / 1000)

    def drop(self, events: EventBatch, plan: Plan) -> EventBatch:
        """Claim the events of a plan and return those to store, in their order: the first of each key that is new.

        Keys stored longer before the plan's stamp than the window are forgotten. Safe to repeat: the same come out.
        Raises: Voided, KeysForgotten.
        """
        if not len(events):
            return events
        keys = events.keys
        kept = _firsts(keys)
        standing = self._claims.claim(plan, keys[kept])
        self._see(standing.news)
        self._incomplete |= standing.missed
        if standing.void:
            raise Voided
        if self._incomplete:
            raise KeysForgotten
        suspects = np.flatnonzero(kept & self._seen.contains(keys))
        if len(suspects):
            kept[suspects] = ~self._known(events.at(suspects), standing.rivals, plan)
        return events.where(kept)

    def since_ms(self, plan: Plan) -> int:
        """Return the instant (Unix milliseconds) before which stored events are forgotten when a plan is judged."""
        return plan.stored_ms - self._window_ms

    def remember(self, events: EventBatch) -> None:
        """Put the keys of stored events into the filter."""
        self._seen.add(events.keys)

    def _see(self, blobs: Iterable[bytes]) -> None:
        for keys in blobs:
            self._seen.add(as_keys([keys]))

    def _known(self, suspects: EventBatch, rivals: Sequence[Claim], plan: Plan) -> npt.NDArray[np.bool_]:
        """Return which suspects are stored from another position, by another plan, or will be by one claimed first."""
        places = {key: (partition, offset, plan.stored_ms) for key, partition, offset in suspects.places()}
        since_ms = self.since_ms(plan)
        known = self._stored(places, since_ms)
        claimed = _claimed(places.keys() - known, rivals)
        if claimed:
            # A rival may have been stored since we looked; or nobody has its plan any more: offsets were reset by hand.
            standing = {planned.token for planned in self._planned()}
            known |= {key for key, them in claimed.items() if any(rival.token in standing for rival in them)}
            known |= self._stored({key: places[key] for key in claimed.keys() - known}, since_ms)
            self._await_other_logs(rival for key in claimed.keys() - known for rival in claimed[key])
        return np.array([key in known for key in places], np.bool_)

    def _stored(self, suspects: dict[bytes, tuple[int, int, int]], since_ms: int) -> set[bytes]:
        """Return the suspects that are stored from another position than theirs, or by another plan."""
        keys = list(suspects)
        known = set()
        for start in range(0, len(keys), _LOOK_UP_KEYS):
            chunk = [key.hex() for key in keys[start : start + _LOOK_UP_KEYS]]
            table = self._store.arrow(sql.statement("ingest/known_keys"), keys=chunk, since_ms=since_ms)
            columns = (table.column(name).to_pylist() for name in ("key", "log_partition", "log_offset", "stored_ms"))
            known |= {key for key, *found in zip(*columns, strict=True) if tuple(found) != suspects[key]}
        return known

    def _await_other_logs(self, rivals: Iterable[Claim]) -> None:
        """Refuse to decide while batches of other logs may still be stored: of these we do not know the plans.

        Raises: LogUnavailable: try again; what is needed is told.
        """
        latest_ms = milliseconds(self._clock()) - KEYS_LIVE_MS
        for rival in rivals:
            if rival.log != self._claims.log and rival.claimed_ms > latest_ms:
                until = Instant((rival.claimed_ms + KEYS_LIVE_MS) * 1_000_000).text
                raise LogUnavailable(
                    f"events of this batch are claimed by the log {rival.log}, which has not stored them: "
                    f"let it be ingested to its end, or wait until {until}"
                )


def _claimed(suspects: Set[bytes], rivals: Sequence[Claim]) -> dict[bytes, list[Claim]]:
    """Return the suspects that batches which come first hold, and which these are."""
    found: dict[bytes, list[Claim]] = {}
    for rival in rivals if suspects else ():
        theirs = {rival.keys[at : at + _KEY_BYTES] for at in range(0, len(rival.keys), _KEY_BYTES)}
        for key in suspects & theirs:
            found.setdefault(key, []).append(rival)
    return found


def _firsts(keys: Keys) -> npt.NDArray[np.bool_]:
    """Return which keys come for the first time."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: of equal keys the first comes first
    again = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)
    firsts = np.ones(len(keys), np.bool_)
    firsts[order[1:][again]] = False
    return firsts
