"""When a meter's fill may begin: the instant before which nothing is stored any more.

Owns: the two looks that make it certain whatever clocks say. First a barrier among the claims: no batch stamped earlier
is begun after it. Then the log's plans: a batch begun before it was planned before it, and is waited for.
Source: docs/design.md R16; ingest/claims.py.
"""

from ingest.claims import Claims
from ingest.log import EventLog


class Settling:
    """Settles instants for the `Filler` of one process."""

    def __init__(self, log: EventLog, claims: Claims) -> None:
        self._log = log
        self._claims = claims
        self._barrier_ms = 0

    def __call__(self, before_ms: int) -> bool:
        """Whether every batch stamped before `before_ms` is in the store, and none will be again."""
        if before_ms > self._barrier_ms:
            self._claims.settle(before_ms)
            self._barrier_ms = before_ms
        return all(plan.stored_ms >= before_ms for plan in self._log.planned())
