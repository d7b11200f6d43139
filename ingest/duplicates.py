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

_KEYS_PER_LOOKUP = 10_000  # keys a statement carries at most
_KEY_BYTES = 16
_PLAN_RERUN_MARGIN = timedelta(days=1)  # so long after it was made a plan that is run again finds what it found then
_KEY_RANGES = [(f"{first:x}0" + "00" * 15, f"{first:x}f" + "ff" * 15) for first in range(16)]


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
        self._keep_ms = self._window_ms + round(_PLAN_RERUN_MARGIN.total_seconds() * 1000)
        self._filter = self._new_filter()
        self._incomplete = False  # the filter is to be loaded anew before it is asked

    def load(self) -> int:
        """Fill the filter with the keys stored within the window, or about to be. Returns their number."""
        seen = self._new_filter()
        for keys in self._claims.load():
            seen.add(as_keys([keys]))
        since_ms = milliseconds(self._clock()) - self._keep_ms
        for first, last in _KEY_RANGES:
            table = self._store.arrow(sql.statement("ingest/keys_in_range"), first=first, last=last, since_ms=since_ms)
            columns = [table.column(name).to_numpy() for name in ("high", "low")]
            seen.add(np.stack(columns, axis=1).astype(np.uint64, copy=False))
        self._filter, self._incomplete = seen, False
        return seen.count

    def _new_filter(self) -> BloomFilter:
        return BloomFilter(self._keep_ms / 1000)

    def drop(self, events: EventBatch, plan: Plan) -> EventBatch:
        """Claim the events of a plan and return those to store, in their order: the first of each key that is new.

        Keys stored longer before the plan's stamp than the window are forgotten. Safe to repeat: the same come out.
        Raises: Voided, KeysForgotten.
        """
        if not len(events):
            return events
        keys = events.keys
        kept = _first_occurrences(keys)
        result = self._claims.claim(plan, keys[kept])
        self._add_to_filter(result.new_keys)
        self._incomplete |= result.incomplete
        if result.void:
            raise Voided
        if self._incomplete:
            raise KeysForgotten
        candidates = np.flatnonzero(kept & self._filter.contains(keys))
        if len(candidates):
            kept[candidates] = ~self._known_elsewhere(events.at(candidates), result.earlier, plan)
        return events.where(kept)

    def since_ms(self, plan: Plan) -> int:
        """Return the instant (Unix milliseconds) before which stored events are forgotten when a plan is judged."""
        return plan.stored_ms - self._window_ms

    def remember(self, events: EventBatch) -> None:
        """Put the keys of stored events into the filter."""
        self._filter.add(events.keys)

    def _add_to_filter(self, blobs: Iterable[bytes]) -> None:
        for keys in blobs:
            self._filter.add(as_keys([keys]))

    def _known_elsewhere(self, candidates: EventBatch, earlier: Sequence[Claim], plan: Plan) -> npt.NDArray[np.bool_]:
        """Return which candidates are stored from another position, by another plan, or will be by one claimed first."""
        positions = {key: (partition, offset, plan.stored_ms) for key, partition, offset in candidates.places()}
        since_ms = self.since_ms(plan)
        known = self._stored_elsewhere(positions, since_ms)
        claimed = _claims_by_key(positions.keys() - known, earlier)
        if claimed:
            # A claim may have been stored since we looked; or nobody has its plan any more: offsets were reset by hand.
            current_tokens = {planned.token for planned in self._planned()}
            known |= {key for key, them in claimed.items() if any(claim.token in current_tokens for claim in them)}
            known |= self._stored_elsewhere({key: positions[key] for key in claimed.keys() - known}, since_ms)
            self._check_other_logs(claim for key in claimed.keys() - known for claim in claimed[key])
        return np.array([key in known for key in positions], np.bool_)

    def _stored_elsewhere(self, candidates: dict[bytes, tuple[int, int, int]], since_ms: int) -> set[bytes]:
        """Return the candidates that are stored from another position than claimed_keys, or by another plan."""
        keys = list(candidates)
        known = set()
        for start in range(0, len(keys), _KEYS_PER_LOOKUP):
            chunk = [key.hex() for key in keys[start : start + _KEYS_PER_LOOKUP]]
            table = self._store.arrow(sql.statement("ingest/known_keys"), keys=chunk, since_ms=since_ms)
            columns = (table.column(name).to_pylist() for name in ("key", "log_partition", "log_offset", "stored_ms"))
            known |= {key for key, *found in zip(*columns, strict=True) if tuple(found) != candidates[key]}
        return known

    def _check_other_logs(self, earlier: Iterable[Claim]) -> None:
        """Refuse to decide while batches of other logs may still be stored: of these we do not know the plans.

        Raises: LogUnavailable: try again; what is needed is told.
        """
        latest_ms = milliseconds(self._clock()) - KEYS_LIVE_MS
        for claim in earlier:
            if claim.log != self._claims.log and claim.claimed_ms > latest_ms:
                until = Instant((claim.claimed_ms + KEYS_LIVE_MS) * 1_000_000).text
                raise LogUnavailable(
                    f"events of this batch are claimed by the log {claim.log}, which has not stored them: "
                    f"let it be ingested to its end, or wait until {until}"
                )


def _claims_by_key(candidates: Set[bytes], earlier: Sequence[Claim]) -> dict[bytes, list[Claim]]:
    """Return the candidates that batches which come first hold, and which these are."""
    found: dict[bytes, list[Claim]] = {}
    for claim in earlier if candidates else ():
        claimed_keys = {claim.keys[start : start + _KEY_BYTES] for start in range(0, len(claim.keys), _KEY_BYTES)}
        for key in candidates & claimed_keys:
            found.setdefault(key, []).append(claim)
    return found


def _first_occurrences(keys: Keys) -> npt.NDArray[np.bool_]:
    """Return which keys come for the first time."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: of equal keys the first comes first
    again = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)
    firsts = np.ones(len(keys), np.bool_)
    firsts[order[1:][again]] = False
    return firsts
