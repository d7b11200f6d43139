"""What a meter's fill waits for: batches that may still reach the store, or are in it only in part.

Owns: two barriers. Before a fill begins, no batch stamped earlier may come any more: a barrier among the claims keeps
new ones away, and the log's plans show the ones that were begun. Before a meter is answered from its rollup, every
batch that may be in `events` only in part must be stored whole: usage that a customer has seen must not shrink.
Source: docs/design.md R16a (barrier), R16b (no answer shrinks); ingest/claims.py.
"""

from collections.abc import Callable, Sequence

from ingest.claims import BatchClaims
from ingest.event_log import Plan


class FillBarrier:
    """The barriers of the `Filler` of one process. `unresolved`: the plans that are not stored for certain."""

    def __init__(self, unresolved: Callable[[], Sequence[Plan]], claims: BatchClaims) -> None:
        self._unresolved = unresolved
        self._claims = claims
        self._barrier_ms = 0
        self._awaited_tokens: dict[str, set[str]] = {}

    def all_stored_before(self, before_ms: int) -> bool:
        """Whether every batch stamped before `before_ms` is in the store, and none will be again."""
        if before_ms > self._barrier_ms:
            self._claims.set_barrier(before_ms)
            self._barrier_ms = before_ms
        return all(plan.stored_ms >= before_ms for plan in self._unresolved())

    def all_stored_whole(self, rollup: str) -> bool:
        """Whether every batch that was unresolved when this was asked first about a rollup has been stored since."""
        unresolved = {plan.token for plan in self._unresolved()}
        awaited = self._awaited_tokens.pop(rollup, unresolved) & unresolved
        if awaited:
            self._awaited_tokens[rollup] = awaited
        return not awaited
