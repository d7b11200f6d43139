"""Writing a planned batch into the store: claim it, drop its duplicates, insert blocks under the plan's tokens.

Owns: the order of these steps, which is the same however often a plan is run; and the fence: an insert does not start
if it was long ago that the plan was last confirmed to be this process's to run.
Source: docs/design.md R6 (plans), R7 (one insert, one block), R11 (duplicates).
"""

import time
from collections.abc import Callable, Sequence

import pyarrow as pa

from engine import faults, metrics, tracing
from engine.events.event import EventBatch
from engine.store.clickhouse import Store
from ingest.dead_letters import DeadLetter, DeadLetterSink, dead_letter_block, new_letters
from ingest.decoding import Batch
from ingest.differing_duplicates import find_differing
from ingest.duplicates import Duplicates, KeysForgotten
from ingest.event_log import EventLog, Plan
from ingest.persistence import Retrier, phase

_CRASH_WINDOW_SECONDS = 0.04  # the time a small block takes to reach all tables: crash tests kill the process within it
_FENCE_SECONDS = 20  # an insert that starts later than this after the plan was last confirmed asks the log again first


class Superseded(Exception):
    """Another process has taken the plan over and finished it."""


class BlockWriter:
    """Stores the planned batches of one log in one store. `sink` also receives each dead letter."""

    def __init__(
        self, log: EventLog, store: Store, duplicates: Duplicates, retrier: Retrier,
        catch_up: Callable[[], None], sink: DeadLetterSink | None = None,
    ) -> None:  # fmt: skip
        """Args: catch_up: loads the keys of stored events again if the duplicate filter has lost some."""
        self._log, self._store, self._duplicates = log, store, duplicates
        self._retry_until_done = retrier.until_done
        self._catch_up = catch_up
        self._sink = sink
        self._current_until = 0.0  # monotonic seconds; the plan counts as current until then

    def run(self, plan: Plan, batch: Batch, last_confirmed: float) -> None:
        """Store a batch of a plan that was this process's to run at `last_confirmed` (monotonic seconds).

        Raises: Voided, Superseded: nothing, or nothing more, may be inserted.
        """
        previous, self._current_until = self._current_until, last_confirmed + _FENCE_SECONDS
        try:
            self.store(plan, batch)
        finally:
            self._current_until = previous

    def store(self, plan: Plan, batch: Batch) -> None:
        """Insert a planned batch: the same rows in the same order under the same tokens, however often it is called.

        Raises: Voided, Superseded: nothing, or nothing more, may be inserted.
        """
        with phase("deduplicate"):
            kept = self.drop_duplicates(plan, batch)
        faults.hit("ingest.after-claim")
        letters = self._store_letters(plan, batch.letters) if batch.letters else []
        if len(kept):
            self._insert(plan, "events", kept.block(plan.stored_ms), plan.token)
            self._duplicates.remember(kept)
        faults.hit("ingest.after-insert")
        if len(kept) < len(batch.events):
            self._keep_differing(plan, batch.events, kept)
        metrics.EVENTS_STORED.inc(len(kept))
        metrics.EVENTS_DUPLICATE.inc(len(batch.events) - len(kept))
        metrics.DEAD_LETTERS.inc(len(letters))
        tracing.spans.note({"meterport.block.stored": len(kept)})

    def drop_duplicates(self, plan: Plan, batch: Batch) -> EventBatch:
        """Claim a batch, and return those of its events that are to be stored. Raises: Voided."""
        while True:
            try:
                return self._retry_until_done(lambda: self._duplicates.drop(batch.events, plan))
            except KeysForgotten:
                self._catch_up()

    def _keep_differing(self, plan: Plan, events: EventBatch, kept: EventBatch) -> None:
        """Store the duplicates whose content differs from the stored event, so that people can look at them."""
        with phase("deduplicate"):
            found = find_differing(self._store, events, kept, self._duplicates.since_ms(plan))
        if len(found):
            self._insert(plan, "differing_duplicates", found.block(plan.stored_ms), f"differing-{plan.token}")
        metrics.EVENTS_DIFFERENT.inc(len(found))

    def _store_letters(self, plan: Plan, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        new = self._retry_until_done(lambda: new_letters(self._store, letters, plan.stored_ms))
        if new:
            self._insert(plan, "dead_letters", dead_letter_block(new, plan.stored_ms), f"dead-{plan.token}")
            if self._sink:
                self._retry_until_done(lambda: self._sink.send(new))  # type: ignore[union-attr]
        faults.hit("ingest.after-dead-letters")
        return new

    def _insert(self, plan: Plan, table: str, block: pa.Table, token: str) -> None:
        def attempt() -> None:
            self._check_fence(plan)
            faults.hit_within("ingest.in-insert", _CRASH_WINDOW_SECONDS)
            self._store.insert_block(table, block, token)

        with phase("insert"):
            tracing.spans.note({"db.collection.name": table})
            self._retry_until_done(attempt)
        metrics.BLOCKS.inc()

    def _check_fence(self, plan: Plan) -> None:
        """Ask the log whether the plan is current if it was last confirmed long ago. Raises: Superseded.

        It was long ago if the process was paused, or the store was away.
        Tables remember the tokens of a bounded number of blocks. If more blocks have passed, a late insert would count
        as new.
        """
        if time.monotonic() < self._current_until:
            return
        if not self._log.is_current(plan):
            raise Superseded
        self._current_until = time.monotonic() + _FENCE_SECONDS
