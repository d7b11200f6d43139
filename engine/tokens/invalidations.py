"""Invalidations of portal tokens: which tokens are refused although their signature is valid.

Owns: the table of invalidations, and the snapshot of it that each process keeps in memory, so that a token is checked
without a query. An invalidation does not depend on the record of a token. It also applies to tokens that have no record
because the store was restored from a copy that is older than they are.

An invalidation names tokens by id, by subject and an instant until which they were issued, or by such an instant only.
These instants come from the clocks of several processes, which differ. The store therefore puts them in order: an
invalidation of a subject covers at least the latest recorded token of the subject, and a token is issued at the
earliest one millisecond after the invalidations of its subject. So a token that was issued before an invalidation is
refused, and one that was issued after it is accepted, whatever the clocks say.

Limits: the snapshot contains only the invalidations of tokens that may not have expired, at most those of the last
portal.max_token_seconds and a day.
Source: docs/contract.md 1.2.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from engine.config.settings import LONGEST_TOKEN_SECONDS
from engine.instants import DAY_SECONDS, Clock, milliseconds, of_milliseconds
from engine.store import sql
from engine.store.clickhouse import Store

_COLUMNS = ("kind", "name", "issued_until", "expires_at", "invalidated_at")
# The snapshot is read on the assumption that the clocks of processes differ by no more than this.
_MAX_CLOCK_DIFFERENCE_MS = DAY_SECONDS * 1000
_LONGEST_LIFETIME = timedelta(seconds=LONGEST_TOKEN_SECONDS)


class Invalidation(NamedTuple):
    """A set of tokens that are not accepted. `expires_at`: when all of them have expired; None: unknown."""

    kind: Literal["id", "subject", "all"]
    name: str
    issued_until: datetime
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The invalidations that this process knows. Instants are Unix milliseconds, inclusive; -1 means none."""

    ids: frozenset[str] = frozenset()
    subjects: dict[str, int] = field(default_factory=dict)
    all_until_ms: int = -1

    def until_ms(self, subject: str) -> int:
        """Return the instant until which the tokens of a subject are invalidated."""
        return max(self.subjects.get(subject, -1), self.all_until_ms)

    def extended(self, invalidations: Sequence[tuple[str, str, int]]) -> "_Snapshot":
        """Return a snapshot with more invalidations, each as (kind, name, issued until in Unix milliseconds)."""
        ids = self.ids | {name for kind, name, _ in invalidations if kind == "id"}
        subjects, all_until_ms = dict(self.subjects), self.all_until_ms
        for kind, name, until_ms in invalidations:
            if kind == "subject":
                subjects[name] = max(subjects.get(name, -1), until_ms)
            elif kind == "all":
                all_until_ms = max(all_until_ms, until_ms)
        return _Snapshot(ids, subjects, all_until_ms)


class Invalidations:
    """The invalidations of one store. Thread-safe."""

    def __init__(self, store: Store, max_token_seconds: int, clock: Clock) -> None:
        self._store = store
        self._max_token_ms = max_token_seconds * 1000
        self._clock = clock
        self._snapshot_lock = threading.Lock()
        self._snapshot = _Snapshot()
        self.refresh()

    def add(self, invalidations: Sequence[Invalidation]) -> None:
        """Invalidate tokens: in this process at once, in every other process at its next `refresh`."""
        now = self._clock()
        rows = [[*added[:3], added.expires_at or _latest_expiry(added.issued_until), now] for added in invalidations]
        facts = [(added.kind, added.name, milliseconds(added.issued_until)) for added in invalidations]
        with self._snapshot_lock:
            self._store.insert_rows("portal_invalidations", _COLUMNS, rows)
            self._snapshot = self._snapshot.extended(facts)

    def refresh(self) -> None:
        """Read the invalidations from the store again. Call it twice a second if other processes may write to it."""
        # Without the lock, a snapshot that was read before an invalidation could replace the one that contains it.
        with self._snapshot_lock:
            now_ms = milliseconds(self._clock())
            oldest_ms = max(0, now_ms - self._max_token_ms - _MAX_CLOCK_DIFFERENCE_MS)
            rows = self._store.rows(sql.statement("tokens/invalidations"), now_ms=now_ms, oldest_ms=oldest_ms)
            self._snapshot = _Snapshot().extended([(kind, name, until_ms) for kind, name, until_ms in rows])

    def is_invalidated(self, id_: str, subject: str, issued_ms: int) -> bool:
        """Return whether a token that was issued at `issued_ms` is invalidated."""
        snapshot = self._snapshot
        return id_ in snapshot.ids or issued_ms <= snapshot.until_ms(subject)

    def invalidated_until(self, subject: str, issued_ms: int) -> datetime | None:
        """Return until when the tokens of a subject are invalidated; None if one issued at `issued_ms` is not."""
        until_ms = self._snapshot.until_ms(subject)
        return of_milliseconds(until_ms) if issued_ms <= until_ms else None

    def __len__(self) -> int:
        """Return the number of invalidations in the snapshot of this process."""
        snapshot = self._snapshot
        return len(snapshot.ids) + len(snapshot.subjects) + (snapshot.all_until_ms >= 0)

    def next_issue(self, subject: str, now: datetime) -> datetime:
        """Return when a token of a subject is issued: now, or a millisecond after the subject's invalidations."""
        ((until_ms,),) = self._store.rows(sql.statement("tokens/invalidated_until"), subject=subject)
        return max(now, of_milliseconds(until_ms + 1))


def _latest_expiry(issued_until: datetime) -> datetime:
    """Return when every token issued until an instant has expired, whatever portal.max_token_seconds was."""
    return issued_until + _LONGEST_LIFETIME
