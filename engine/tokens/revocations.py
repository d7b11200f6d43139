"""Invalidations of portal tokens: which tokens are refused although their signature is good.

Owns: the table of invalidations, and the copy of it that each process keeps in memory, so that a token is checked
without a query. An invalidation is a fact by itself. It holds for tokens that the store has no row of, too: those that
were issued after the copy of the store that was restored.

Tokens are named by id, by subject and the instant until which they were issued, or by that instant alone. Instants
come from the clocks of several processes, which differ. So they are put in order through the store: an invalidation of
a subject reaches at least as far as the latest token on record of the subject, and a token is issued at the earliest
one millisecond after the invalidations of its subject. Whatever the clocks say, a token that was issued before an
invalidation is refused, and one issued after it is good.

Limits: memory holds what names tokens that can be alive: of portal.max_token_seconds at most.
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
_CLOCKS_DIFFER_MS = DAY_SECONDS * 1000  # at most, by assumption, when it is decided what is kept in memory
_LONGEST = timedelta(seconds=LONGEST_TOKEN_SECONDS)


class Invalidation(NamedTuple):
    """Tokens that are not accepted. `expires_at`: when none of them can be alive; None: nobody knows."""

    kind: Literal["id", "subject", "all"]
    name: str
    issued_until: datetime
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What is invalidated, as far as this process knows. Instants are Unix milliseconds, inclusive."""

    ids: frozenset[str] = frozenset()
    subjects: dict[str, int] = field(default_factory=dict)
    everyone_ms: int = -1

    def until_ms(self, subject: str) -> int:
        return max(self.subjects.get(subject, -1), self.everyone_ms)

    def with_(self, facts: Sequence[tuple[str, str, int]]) -> "_Snapshot":
        ids = self.ids | {name for kind, name, _ in facts if kind == "id"}
        subjects, everyone_ms = dict(self.subjects), self.everyone_ms
        for kind, name, until_ms in facts:
            if kind == "subject":
                subjects[name] = max(subjects.get(name, -1), until_ms)
            elif kind == "all":
                everyone_ms = max(everyone_ms, until_ms)
        return _Snapshot(ids, subjects, everyone_ms)


class Revocations:
    """The invalidations of one store. Thread-safe."""

    def __init__(self, store: Store, max_token_seconds: int, clock: Clock) -> None:
        self._store = store
        self._max_token_ms = max_token_seconds * 1000
        self._clock = clock
        self._changing = threading.Lock()
        self._snapshot = _Snapshot()
        self.refresh()

    def add(self, invalidations: Sequence[Invalidation]) -> None:
        """Invalidate tokens: at once in this process, at their next `refresh` in all others."""
        now = self._clock()
        rows = [[*given[:3], given.expires_at or _end(given.issued_until), now] for given in invalidations]
        facts = [(given.kind, given.name, milliseconds(given.issued_until)) for given in invalidations]
        with self._changing:
            self._store.insert_rows("portal_invalidations", _COLUMNS, rows)
            self._snapshot = self._snapshot.with_(facts)

    def refresh(self) -> None:
        """Read the invalidations again. Run it twice a second."""
        with self._changing:  # or a snapshot that was read before an invalidation would replace the one with it
            now_ms = milliseconds(self._clock())
            oldest_ms = max(0, now_ms - self._max_token_ms - _CLOCKS_DIFFER_MS)
            rows = self._store.rows(sql.statement("tokens/invalidations"), now_ms=now_ms, oldest_ms=oldest_ms)
            self._snapshot = _Snapshot().with_([(kind, name, until_ms) for kind, name, until_ms in rows])

    def is_revoked(self, id_: str, subject: str, issued_ms: int) -> bool:
        """Whether a token is invalidated."""
        snapshot = self._snapshot
        return id_ in snapshot.ids or issued_ms <= snapshot.until_ms(subject)

    def revoked_until(self, subject: str, issued_ms: int) -> datetime | None:
        """Return until when the tokens of a subject are invalidated, None if one issued at `issued_ms` is not."""
        until_ms = self._snapshot.until_ms(subject)
        return of_milliseconds(until_ms) if issued_ms <= until_ms else None

    def __len__(self) -> int:
        """Return how many invalidations this process keeps in memory."""
        snapshot = self._snapshot
        return len(snapshot.ids) + len(snapshot.subjects) + (snapshot.everyone_ms >= 0)

    def next_issue(self, subject: str, now: datetime) -> datetime:
        """Return the instant at which a token of a subject is issued: now, or just after what is invalidated."""
        ((until_ms,),) = self._store.rows(sql.statement("tokens/invalidated_until"), subject=subject)
        return max(now, of_milliseconds(until_ms + 1))


def _end(issued_until: datetime) -> datetime:
    """Return when no token issued until an instant can be alive, whatever processes have for a setting."""
    return issued_until + _LONGEST
