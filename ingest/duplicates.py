"""Which events of a batch are already stored, are being stored by another process, or come twice within the batch.

Owns: the answer to "is this (source, id) known elsewhere?". The durable rows decide, and for batches under way the
order of claims (ingest/claims.py). The filter in memory only saves look-ups of keys that were never seen. Rows of the
batch itself, left by an attempt that died, have the batch's own positions and stamp, and are no duplicates of
themselves. So a retry drops exactly what the first attempt dropped.
Source: docs/design.md R10 (duplicates), R11 (look-ups and claims).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from datetime import timedelta
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from engine import tracing
from engine.errors import LogUnavailable
from engine.events.event import EventBatch, Keys
from engine.instants import Clock, Instant, milliseconds, utc_now
from engine.store import sql
from engine.store.clickhouse import Store
from ingest.bloom_filter import BloomFilter, as_keys
from ingest.claims import KEYS_LIVE_MS, BatchClaims, Claim
from ingest.event_log import Plan

_KEYS_PER_LOOKUP = 10_000  # the most keys that one statement carries
_KEY_BYTES = 16
# keys are kept a day longer, so that a plan rerun within a day drops the same events
_PLAN_RERUN_MARGIN = timedelta(days=1)
_KEYS_PER_RANGE = 1_000_000  # about how many keys are read at once to fill the filter


class Voided(Exception):
    """The plan must not be stored under its stamp: discard it and plan its records again."""


class KeysForgotten(Exception):
    """The filter lacks keys of other batches. Load it, run the plans whose keys no claim has, then call again."""


class Duplicates:
    """Finds duplicates in one store. Not thread-safe: one consumer owns it."""

    def __init__(
        self,
        store: Store,
        claims: BatchClaims,
        planned: Callable[[], Iterable[Plan]],
        window: timedelta,
        clock: Clock = utc_now,
    ) -> None:
        """Args: planned: returns every plan that some process may be running (`EventLog.planned`)."""
        self._store = store
        self._claims = claims
        self._planned = planned
        self._window_ms = round(window.total_seconds() * 1000)
        self._clock = clock
        self._keep_ms = self._window_ms + round(_PLAN_RERUN_MARGIN.total_seconds() * 1000)
        self._filter = self._new_filter()
        self._incomplete = False  # the filter must be loaded again before it is used

    def load(self) -> int:
        """Fill the filter with the keys stored within the window or about to be stored. Returns their number."""
        seen = self._new_filter()
        for keys in self._claims.load():
            seen.add(as_keys([keys]))
        since_ms = milliseconds(self._clock()) - self._keep_ms
        [[stored]] = self._store.rows("SELECT count() FROM event_keys")
        for first, last in _key_ranges(1 + stored // _KEYS_PER_RANGE):
            table = self._store.arrow(sql.statement("ingest/keys_in_range"), first=first, last=last, since_ms=since_ms)
            columns = [table.column(name).to_numpy() for name in ("high", "low")]
            seen.add(np.stack(columns, axis=1).astype(np.uint64, copy=False))
        self._filter, self._incomplete = seen, False
        return seen.count

    def _new_filter(self) -> BloomFilter:
        return BloomFilter(self._keep_ms / 1000)

    def drop(self, events: EventBatch, plan: Plan) -> EventBatch:
        """Claim the events of a plan and return those to store, in their order: the first event of each new key.

        A key is forgotten if it was stored longer before the plan's stamp than the window. Safe to repeat with the same
        result.
        Raises: Voided, KeysForgotten.
        """
        if not len(events):
            return events
        keys = events.keys
        kept = _first_occurrences(keys)
        with tracing.spans.step("claim"):
            result = self._claims.claim(plan, keys[kept])
        self._add_to_filter(result.new_keys)
        self._incomplete |= result.incomplete
        if result.void:
            raise Voided
        if self._incomplete:
            raise KeysForgotten
        candidates = np.flatnonzero(kept & self._filter.contains(keys))
        if len(candidates):
            kept[candidates] = ~self._known_elsewhere(events.take(candidates), result.earlier, plan)
        return events.where(kept)

    def since_ms(self, plan: Plan) -> int:
        """Return the instant (Unix milliseconds) before which stored events are forgotten for this plan."""
        return plan.stored_ms - self._window_ms

    def remember(self, events: EventBatch) -> None:
        """Add the keys of stored events to the filter."""
        self._filter.add(events.keys)

    def _add_to_filter(self, blobs: Iterable[bytes]) -> None:
        for keys in blobs:
            self._filter.add(as_keys([keys]))

    def _known_elsewhere(self, candidates: EventBatch, earlier: Sequence[Claim], plan: Plan) -> npt.NDArray[np.bool_]:
        """Return for each candidate whether another record or plan has stored its key, or an earlier one claimed it."""
        positions = {
            key: (partition, offset, plan.stored_ms) for key, partition, offset in candidates.keys_with_positions()
        }
        since_ms = self.since_ms(plan)
        known = self._stored_elsewhere(positions, since_ms)
        claimed = _claims_by_key(positions.keys() - known, earlier)
        if claimed:
            # The claimed batch may have been stored meanwhile; or its plan is gone, because offsets were reset by hand.
            current_tokens = {planned.token for planned in self._planned()}
            known |= {key for key, them in claimed.items() if any(claim.token in current_tokens for claim in them)}
            known |= self._stored_elsewhere({key: positions[key] for key in claimed.keys() - known}, since_ms)
            self._check_other_logs(claim for key in claimed.keys() - known for claim in claimed[key])
        return np.array([key in known for key in positions], np.bool_)

    def _stored_elsewhere(self, candidates: dict[bytes, tuple[int, int, int]], since_ms: int) -> set[bytes]:
        """Return the candidates' keys that are stored from another position than given here, or by another plan."""
        keys = list(candidates)
        known = set()
        for start in range(0, len(keys), _KEYS_PER_LOOKUP):
            chunk = [key.hex() for key in keys[start : start + _KEYS_PER_LOOKUP]]
            table = self._store.arrow(sql.statement("ingest/known_keys"), keys=chunk, since_ms=since_ms)
            columns = (table.column(name).to_pylist() for name in ("key", "log_partition", "log_offset", "stored_ms"))
            known |= {key for key, *found in zip(*columns, strict=True) if tuple(found) != candidates[key]}
        return known

    def _check_other_logs(self, earlier: Iterable[Claim]) -> None:
        """Refuse to decide while batches of other logs may still be stored: this process does not know their plans.

        Raises: LogUnavailable: try again. Its message says what is needed.
        """
        latest_ms = milliseconds(self._clock()) - KEYS_LIVE_MS
        for claim in earlier:
            if claim.log != self._claims.log and claim.claimed_ms > latest_ms:
                until = Instant((claim.claimed_ms + KEYS_LIVE_MS) * 1_000_000).text
                raise LogUnavailable(
                    f"the log {claim.log} has claimed events of this batch, but has not stored them: "
                    f"ingest that log to its end, or wait until {until}"
                )


def _key_ranges(count: int) -> Iterator[tuple[str, str]]:
    """Yield the first and the last key, in hexadecimal, of ranges that cover all keys and are about equally large."""
    bounds = [part * (1 << 16) // count for part in range(count + 1)]  # of the first two bytes
    for first, following in pairwise(bounds):
        if first < following:
            yield f"{first:04x}" + "00" * 14, f"{following - 1:04x}" + "ff" * 14


def _claims_by_key(candidates: Set[bytes], earlier: Sequence[Claim]) -> dict[bytes, list[Claim]]:
    """Return the candidates whose keys earlier claims hold, each with these claims."""
    found: dict[bytes, list[Claim]] = {}
    for claim in earlier if candidates else ():
        claimed_keys = {claim.keys[start : start + _KEY_BYTES] for start in range(0, len(claim.keys), _KEY_BYTES)}
        for key in candidates & claimed_keys:
            found.setdefault(key, []).append(claim)
    return found


def _first_occurrences(keys: Keys) -> npt.NDArray[np.bool_]:
    """Return for each key whether it comes for the first time in the array."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # a stable sort: of equal keys the first one stays first
    again = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)
    firsts = np.ones(len(keys), np.bool_)
    firsts[order[1:][again]] = False
    return firsts
