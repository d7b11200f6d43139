"""Which process stores an event first, among all processes that store into one database.

Owns: the order of batches. A process writes which events it is about to store (a claim) before it looks for duplicates,
and reads what other processes have claimed. If two batches under way at the same moment hold the same event, the one
claimed first keeps it. Both processes see this the same way, and so does every process that runs either batch again.
Barriers are part of the same order: a batch that is stamped before a barrier's instant and was not claimed before the
barrier is never stored. So the fill of a meter (engine/meters/fill.py) works on a fixed set, whatever the clocks say.
Refusals are part of it too: a plan that was refused before any process claimed it is never stored by any process.

The order is that of ClickHouse's block numbers: a MergeTree assigns them and makes parts visible under one lock, so a
process that sees a claim sees every claim before it.
Limits: keys are kept for three hours, the claims themselves for 30 days. A plan whose keys are gone is run before any
event is judged (`covers`; ingest/consumer.py).
Source: docs/design.md R6c (refused plans), R11 (duplicates), R11b (reruns), R16 (barriers);
tests/ingest/test_claims.py.
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
_REFUSED_PREFIX = "refused "  # stands before the token of a refused plan, and after the log's name in the owner
_CLOCK_JUMP_MS = 2 * 3_600_000  # how far the server's clock may jump back without a claim being overlooked


class Claim(NamedTuple):
    """One row of event_claims. `keys`: 16 bytes per event, empty where no other process needs them."""

    block: int
    owner: str
    token: str
    stored_ms: int
    events: int
    keys: bytes
    claimed_ms: int

    @property
    def log(self) -> str:
        """The name of the log whose records are claimed."""
        return self.owner.rpartition(" ")[0]

    @property
    def keys_expired(self) -> bool:
        """Whether the keys are gone, because the claim was made hours ago."""
        return bool(self.events) and not self.keys


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """What a claim shows about a batch and the batches of other processes.

    `void`: the batch must not be stored, because a barrier or a refusal came before it. `new_keys`: keys that other
    processes claimed since the last call. `earlier`: claims of batches that came first and may be under way.
    `incomplete`: some of the new keys are gone, so the duplicate filter must be loaded again.
    """

    void: bool
    new_keys: Sequence[bytes]
    earlier: Sequence[Claim]
    incomplete: bool


class BatchClaims:
    """The claims of one process on one store. Not thread-safe, except `set_barrier`."""

    def __init__(self, store: Store, log: str = "") -> None:
        """Args: log: the name of the log whose records are stored; several logs may feed one store."""
        self.log = log
        self._store = store
        self._owner = f"{log} {new_ulid()}"
        self._loaded_tokens: set[str] = set()  # tokens of the plans whose keys `load` has returned
        self._newest_block = 0  # the block of the newest claim that was read
        self._newest_claimed_ms = 0  # when that claim was made
        self._latest_by_owner: dict[str, Claim] = {}  # of every other process
        self._unreported: list[Claim] = []  # claims read by a call that failed later; the next call returns them
        self._barriers: list[Claim] = []
        self._refusals: dict[str, int] = {}  # tokens of refused plans, with the block of the first refusal
        self.floor_ms = 0  # a plan made now gets no earlier stamp

    def load(self) -> list[bytes]:
        """Read the claims that may be under way, and every barrier. Returns the keys of each claim that has keys.

        What is read of event_keys after this call includes every batch finished before it.
        """
        newest = self._store.rows(sql.statement("ingest/newest_claim"))[0]
        claims = self._read(sql.statement("ingest/claims_at_start"))
        self._newest_block, self._newest_claimed_ms = newest
        self._latest_by_owner, self._barriers, self._refusals, self._unreported, self.floor_ms = {}, [], {}, [], 0
        self._loaded_tokens = {claim.token for claim in claims if claim.keys}
        for claim in claims:
            self._apply(claim)
        return [claim.keys for claim in claims if claim.keys]

    def claim(self, plan: Plan, keys: Keys) -> ClaimResult:
        """Claim the events of a plan that is about to be stored, and compare it with other claims. Safe to repeat."""
        shared = keys.tobytes() if self._store.shared else b""
        self._write(plan.token, plan.stored_ms, len(keys) if shared else 0, shared)
        newer = self._read(
            sql.statement("ingest/claims_since"),
            owner=self._owner,
            last=self._newest_block,
            since_ms=self._newest_claimed_ms - _CLOCK_JUMP_MS,
        )
        for claim in newer:
            self._apply(claim)
            self._newest_block, self._newest_claimed_ms = claim.block, claim.claimed_ms
            if claim.token and claim.owner != self._owner and not claim.token.startswith(_REFUSED_PREFIX):
                self._unreported.append(claim)
        # False if the table was emptied and block numbers began again
        own = any(claim.owner == self._owner for claim in newer)
        first = self._first_block(plan.token)
        void = self._is_void(plan.stored_ms, first) or self._is_refused(plan.token, first)
        earlier = [
            claim
            for claim in self._latest_by_owner.values()
            if self._competes(claim, plan) and self._came_before(claim, first)
        ]
        others, self._unreported = self._unreported, []
        return ClaimResult(
            void=void,
            new_keys=[claim.keys for claim in others],
            earlier=earlier,
            incomplete=not own or any(claim.keys_expired for claim in others),
        )

    def covers(self, plan: Plan) -> bool:
        """Return whether this process knows, or learns with its next claim, every event that the plan may have stored.

        False where no claim carries keys: this process is alone on the store, or the claim is some hours old.
        """
        rows = self._store.rows(sql.statement("ingest/claims_of_plan"), token=plan.token, last=self._newest_block)
        [(claims, newer_with_keys)] = rows
        return bool(claims == 0 or plan.token in self._loaded_tokens or newer_with_keys > 0)

    def set_barrier(self, before_ms: int) -> None:
        """Set a barrier: no batch stamped before `before_ms` can begin from now on."""
        self._write("", before_ms, 0, b"")

    def refuse(self, plan: Plan) -> bool:
        """Refuse a plan that no Meterport process seems to have made. Returns whether it is refused. Safe to repeat.

        The plan is not refused if a process claimed it first: it may be stored in part, and must then be stored as a
        whole. A process that claims it later finds the refusal and does not store it.
        """
        self._write(_REFUSED_PREFIX + plan.token, 0, 0, b"", f"{self.log} {_REFUSED_PREFIX.strip()}")
        claimed, refused = self._first_block(plan.token), self._first_block(_REFUSED_PREFIX + plan.token)
        return claimed == 0 or refused < claimed

    def _apply(self, claim: Claim) -> None:
        if claim.token.startswith(_REFUSED_PREFIX):
            self._refusals.setdefault(claim.token.removeprefix(_REFUSED_PREFIX), claim.block)
        elif not claim.token:
            self._barriers.append(claim)
            self.floor_ms = max(self.floor_ms, claim.stored_ms)
        elif claim.owner != self._owner:
            # A process has one batch under way, so its older claims are stored. A batch that was taken over belongs to
            # its new owner.
            self._latest_by_owner = {
                owner: other for owner, other in self._latest_by_owner.items() if other.token != claim.token
            }
            self._latest_by_owner[claim.owner] = claim

    def _came_before(self, claim: Claim, first: int) -> bool:
        """Return whether another process's batch was claimed before block `first`.

        `claim` is its latest claim: the batch may have been claimed earlier, too.
        """
        return claim.block < first or self._first_block(claim.token) < first

    def _competes(self, claim: Claim, plan: Plan) -> bool:
        """Return whether another process's claim is of another batch, and of one that will be stored."""
        if claim.token == plan.token:
            return False
        if claim.token in self._refusals and self._is_refused(claim.token, self._first_block(claim.token)):
            return False
        return not self._is_void(claim.stored_ms, claim.block) or not self._is_void(
            claim.stored_ms, self._first_block(claim.token)
        )

    def _is_refused(self, token: str, block: int) -> bool:
        """Return whether a plan that was claimed in `block` had been refused before."""
        return token in self._refusals and self._refusals[token] < block

    def _is_void(self, stored_ms: int, block: int) -> bool:
        return any(barrier.block < block and stored_ms < barrier.stored_ms for barrier in self._barriers)

    def _first_block(self, token: str) -> int:
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
