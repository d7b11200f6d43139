"""Who stores what first, among all processes that store into one database.

Owns: the order of batches. A process says which events it is about to store (a claim) before it looks for duplicates,
and reads what others have claimed: of two batches under way at the same moment that hold the same event, the one whose
claim came first keeps it, in the eyes of both, and of whoever runs either of them again. Barriers stand in the same
order: a batch stamped before a barrier's instant and not claimed before the barrier is never stored, so that the fill
of a meter (engine/meters/fill.py) works on a set that is fixed, whatever the clocks say. So do refusals: a plan that
was refused before anybody claimed it is never stored, by nobody.

The order is that of ClickHouse's block numbers: a MergeTree gives them out and makes parts visible under one lock, so
whoever sees a claim sees every claim before it.
Limits: keys live for three hours, the claims themselves for 30 days. A plan whose keys are gone is run before anything
is judged (`cover`; ingest/consumer.py).
Source: docs/design.md R6c, R11, R11b, R16; tests/ingest/test_claims.py.
"""

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from engine.events.event import Keys
from engine.ids import new_ulid
from engine.store import sql
from engine.store.clickhouse import Store
from ingest.event_log import Plan

KEYS_LIVE_MS = 3 * 3_600_000  # how long the keys of a claim are kept: the TTL of event_claims
_REFUSED = "refused "  # before the token of a plan that is refused, and behind the log's name as the owner
_LOOK_BACK_MS = 2 * 3_600_000  # how far the server's clock may jump back without a claim being overlooked


class Claim(NamedTuple):
    """One row of event_claims. `keys`: 16 bytes an event, empty where nobody else needs them."""

    block: int
    owner: str
    token: str
    stored_ms: int
    events: int
    keys: bytes
    claimed_ms: int

    @property
    def log(self) -> str:
        """The name of the log whose records it is about."""
        return self.owner.rpartition(" ")[0]

    @property
    def forgotten(self) -> bool:
        """Whether the keys are gone: it was made hours ago."""
        return bool(self.events) and not self.keys


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """Where a batch stands among the others.

    `void`: it must not be stored, a barrier came before it. `news`: keys others claimed since the last look.
    `rivals`: claims of batches that came before and may be under way. `missed`: some news are gone, the filter is to
    be loaded anew.
    """

    void: bool
    news: Sequence[bytes]
    rivals: Sequence[Claim]
    missed: bool


class BatchClaims:
    """The claims of one process on one store. Not thread-safe, except `settle`."""

    def __init__(self, store: Store, log: str = "") -> None:
        """Args: log: the name of the log whose records are stored; several may feed one store."""
        self.log = log
        self._store = store
        self._owner = f"{log} {new_ulid()}"
        self._loaded: set[str] = set()  # tokens of the plans whose keys `load` has returned
        self._block = 0  # the newest claim read
        self._since_ms = 0  # when it was made
        self._latest: dict[str, Claim] = {}  # of every other process
        self._untold: list[Claim] = []  # read by a call that failed then: the next one tells
        self._barriers: list[Claim] = []
        self._refusals: dict[str, int] = {}  # tokens of refused plans: the block of the first refusal
        self.floor_ms = 0  # a plan made now is stamped no earlier

    def load(self) -> list[bytes]:
        """Read what may be under way, and every barrier. Returns the keys of the former.

        What is read of event_keys after this holds every batch finished before it.
        """
        newest = self._store.rows(sql.statement("ingest/newest_claim"))[0]
        claims = self._read(sql.statement("ingest/claims_at_start"))
        self._block, self._since_ms = newest
        self._latest, self._barriers, self._refusals, self._untold, self.floor_ms = {}, [], {}, [], 0
        self._loaded = {claim.token for claim in claims if claim.keys}
        for claim in claims:
            self._take(claim)
        return [claim.keys for claim in claims if claim.keys]

    def claim(self, plan: Plan, keys: Keys) -> ClaimResult:
        """Say that the events of a plan are about to be stored, and learn where it stands. Safe to repeat."""
        shared = keys.tobytes() if self._store.shared else b""
        self._write(plan.token, plan.stored_ms, len(keys) if shared else 0, shared)
        news = self._read(
            sql.statement("ingest/claims_since"),
            owner=self._owner,
            last=self._block,
            since_ms=self._since_ms - _LOOK_BACK_MS,
        )
        for claim in news:
            self._take(claim)
            self._block, self._since_ms = claim.block, claim.claimed_ms
            if claim.token and claim.owner != self._owner and not claim.token.startswith(_REFUSED):
                self._untold.append(claim)
        own = any(claim.owner == self._owner for claim in news)  # not so if the table was empty and numbers began anew
        first = self._first(plan.token)
        void = self._void(plan.stored_ms, first) or self._refused(plan.token, first)
        rivals = [claim for claim in self._latest.values() if self._stands(claim, plan) and self._leads(claim, first)]
        others, self._untold = self._untold, []
        return ClaimResult(
            void=void,
            news=[claim.keys for claim in others],
            rivals=rivals,
            missed=not own or any(claim.forgotten for claim in others),
        )

    def cover(self, plan: Plan) -> bool:
        """Whether this process knows, or learns with its next claim, every event that the plan may have stored.

        It does not where no claim carries keys: the store is one process's alone, or the claim is some hours old.
        """
        rows = self._store.rows(sql.statement("ingest/claims_of_plan"), token=plan.token, last=self._block)
        [(claims, newer_with_keys)] = rows
        return bool(claims == 0 or plan.token in self._loaded or newer_with_keys > 0)

    def settle(self, before_ms: int) -> None:
        """Set a barrier: no batch stamped before `before_ms` is begun from now on."""
        self._write("", before_ms, 0, b"")

    def refuse(self, plan: Plan) -> bool:
        """Refuse a plan that no process of ours seems to have made. Returns whether it is refused. Safe to repeat.

        It is not if somebody has claimed it before: then it may be stored in part, and must be stored whole. Who claims
        it later finds the refusal, and does not store it.
        """
        self._write(_REFUSED + plan.token, 0, 0, b"", f"{self.log} {_REFUSED.strip()}")
        claimed, refused = self._first(plan.token), self._first(_REFUSED + plan.token)
        return claimed == 0 or refused < claimed

    def _take(self, claim: Claim) -> None:
        if claim.token.startswith(_REFUSED):
            self._refusals.setdefault(claim.token.removeprefix(_REFUSED), claim.block)
        elif not claim.token:
            self._barriers.append(claim)
            self.floor_ms = max(self.floor_ms, claim.stored_ms)
        elif claim.owner != self._owner:
            # A process has one batch under way: its older claims are stored. A batch taken over is its new owner's.
            self._latest = {owner: other for owner, other in self._latest.items() if other.token != claim.token}
            self._latest[claim.owner] = claim

    def _leads(self, claim: Claim, first: int) -> bool:
        """Whether another's batch was claimed before block `first`: it may have been claimed again since."""
        return claim.block < first or self._first(claim.token) < first

    def _stands(self, claim: Claim, plan: Plan) -> bool:
        """Whether another's claim is of another batch, and one that will be stored."""
        if claim.token == plan.token:
            return False
        if claim.token in self._refusals and self._refused(claim.token, self._first(claim.token)):
            return False
        return not self._void(claim.stored_ms, claim.block) or not self._void(claim.stored_ms, self._first(claim.token))

    def _refused(self, token: str, block: int) -> bool:
        """Whether a plan that was claimed in a block had been refused before."""
        return token in self._refusals and self._refusals[token] < block

    def _void(self, stored_ms: int, block: int) -> bool:
        return any(barrier.block < block and stored_ms < barrier.stored_ms for barrier in self._barriers)

    def _first(self, token: str) -> int:
        return int(self._store.rows(sql.statement("ingest/first_claim"), token=token)[0][0])

    def _write(self, token: str, stored_ms: int, events: int, keys: bytes, owner: str = "") -> None:
        row = {
            "token": pa.array([token], pa.string()),
            "owner": pa.array([owner or self._owner], pa.string()),
            "stored_at": pa.array([stored_ms], pa.timestamp("ms", "UTC")),
            "events": pa.array([events], pa.uint32()),
            "keys": pa.array([keys], pa.binary()),
        }
        self._store.insert_block("event_claims", pa.table(row), new_ulid())

    def _read(self, statement: str, **parameters: object) -> list[Claim]:
        return [Claim._make((*row[:5], b64decode(row[5]), row[6])) for row in self._store.rows(statement, **parameters)]
