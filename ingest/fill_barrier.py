"""What a meter's fill waits for: batches that may still reach the store, or that are in it only in part.

Owns: two barriers. Before a fill begins, it must be certain that no batch stamped earlier can still come: a barrier
among the claims keeps new ones out, and the log's plans show those already begun. Before a meter is answered from its
rollup, every batch that may be in `events` only in part must be stored as a whole: usage that a customer has seen must
not shrink.
Source: docs/design.md R16a (barrier), R16b (no answer shrinks); ingest/claims.py.
"""

from collections.abc import Callable, Sequence

from ingest.claims import BatchClaims
from ingest.event_log import Plan


class FillBarrier:
    """The barriers for the `Filler` of one process. `unresolved`: returns the plans that are not certainly stored."""

    def __init__(self, unresolved: Callable[[], Sequence[Plan]], claims: BatchClaims) -> None:
        self._unresolved = unresolved
        self._claims = claims
        self._barrier_ms = 0
        self._awaited_tokens: dict[str, set[str]] = {}

    def all_stored_before(self, before_ms: int) -> bool:
        """Return whether every batch stamped before `before_ms` is in the store, and none can come any more."""
        if before_ms > self._barrier_ms:
            self._claims.set_barrier(before_ms)
            self._barrier_ms = before_ms
        return all(plan.stored_ms >= before_ms for plan in self._unresolved())

    def all_stored_whole(self, rollup: str) -> bool:
        """Return whether every batch that was unresolved at the first call for this rollup has been stored since."""
        unresolved = {plan.token for plan in self._unresolved()}
        awaited = self._awaited_tokens.pop(rollup, unresolved) & unresolved
        if awaited:
            self._awaited_tokens[rollup] = awaited
        return not awaited
