"""Log records to ClickHouse blocks, exactly once.

Owns: the loop read → decode → plan → claim → insert → acknowledge. A plan is durable before its insert starts, and an
insert carries a token made from its offsets, so whoever runs the plan again changes nothing twice. While a batch is
inserted the next is read and decoded, in a second thread; it is planned only when its turn has come.

| the process dies                       | what the next one does                                 |
|----------------------------------------|--------------------------------------------------------|
| before the plan                        | reads the same records and plans them                  |
| after the plan, before the insert      | inserts: the first time everywhere                     |
| in the middle of the insert            | inserts again: completes the tables that miss it       |
| after the insert, before the next plan | inserts again: skipped everywhere                      |
| nowhere: it was only paused            | its plans are refused; what it inserts late is skipped |

An insert that fails is tried again for ever under the same token, as long as the plan is this process's to run.
One thread runs the loop.
Limits: a block is at most `batch_rows` rows, `batch_bytes` bytes, `batch_months` calendar months.
Source: docs/design.md R6–R8, R6c, R11.
"""

import gc
import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TypeVar

import pyarrow as pa
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_when_event_set, wait_random_exponential
from tenacity.nap import sleep_using_event

from engine import faults, metrics
from engine.config.settings import IngestSettings
from engine.errors import ConfigurationError, MeterportError, StoreError, Unavailable
from engine.events.cloudevents import TimeSpan
from engine.events.event import EventBatch
from engine.health import Pulse
from engine.instants import Clock, Instant, milliseconds, utc_now
from engine.store.clickhouse import DEDUPLICATION_WINDOW, Store
from engine.texts import printable
from ingest.arrivals import TimestampReport
from ingest.claims import BatchClaims
from ingest.dead_letters import DeadLetter, DeadLetterRuns, DeadLetterSink, dead_letter_block, new_letters
from ingest.decoding import Batch, decode_records
from ingest.differing import find_differing
from ingest.duplicates import Duplicates, KeysForgotten, Voided
from ingest.event_log import LATEST_STAMP_MS, EventLog, Plan, Record, Run, ranges_of

_T = TypeVar("_T")
logger = logging.getLogger(__name__)
_IDLE_SECONDS = 0.5  # how long one read waits for a record, and so how soon the loop sees that it shall stop
_LONGEST_PAUSE_SECONDS = 5
_INSERT_SECONDS = 0.04  # what a small block takes to reach all tables: where crash tests cut it off
_SWITCH_SECONDS = 0.0005  # 0.005 by default: what the loop waits after each step in C, while the other thread reads
_YOUNG_OBJECTS = 100_000  # 700 by default: looked through for garbage that often, though all of a batch is needed
_AHEAD_MS = 3_600_000  # a plan stamped further ahead of our clock is looked for among the claims before it is run
_FENCE_SECONDS = 20  # an insert that starts so long after its plan was last seen to stand asks the log again first


class Stopped(Exception):
    """Raised out of a retry when the process is asked to stop; the batch stays planned."""


class _Superseded(Exception):
    """Another process has taken the plan over and finished it."""


class Consumer:
    """Moves one log into one store until it is told to stop. `dead_letter_sink` is given each dead letter too."""

    def __init__(
        self,
        log: EventLog,
        store: Store,
        settings: IngestSettings,
        stop: threading.Event,
        clock: Clock = utc_now,
        dead_letter_sink: DeadLetterSink | None = None,
    ) -> None:
        self.claims = BatchClaims(store, log.name)
        self._log = log
        self._store = store
        self._settings = settings
        self._stop = stop
        self._clock = clock
        self._sink = dead_letter_sink
        self._span = TimeSpan.of(settings)
        window = timedelta(days=settings.duplicate_window_days)
        self._duplicates = Duplicates(store, self.claims, log.planned, window, clock)
        self._runs = DeadLetterRuns(settings.max_dead_letter_run)
        self._assignments = 0  # of the log, when it was read last
        self.pulse = Pulse()  # of every step that may fail because the log or the store does
        self._timestamps = TimestampReport()
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="log-reader")
        self._ahead: Future[Batch] | None = None  # the next batch, read and decoded while this one is inserted
        self._unacknowledged: Plan | None = None  # stored
        self._running: list[str] = []  # tokens of the plans this process is executing
        self._stored: dict[str, None] = {}  # tokens of the plans this process has stored, the oldest first
        self._stands_until = 0.0  # monotonic seconds

    def start(self) -> None:
        """Fill the duplicate filter, then finish what a dead process planned. Raises: Stopped.

        Sets for the whole process how threads share the interpreter, and how often it looks for garbage.
        """
        sys.setswitchinterval(_SWITCH_SECONDS)
        gc.set_threshold(_YOUNG_OBJECTS, 20, 100)
        self._catch_up()
        self._finish_pending()

    def unresolved(self) -> list[Plan]:
        """Return the plans that may be stored in part: they are not acknowledged, and this process has not stored them.

        Any thread may call it. Raises: LogUnavailable.
        """
        return [plan for plan in self._log.planned() if plan.token not in self._stored]

    def _catch_up(self) -> None:
        """Load the duplicate filter, and run every plan that may have stored events nobody can name.

        A plan that is run again must keep what its first run kept. So no event may be judged while another plan may
        have stored that event and neither `event_keys` nor a claim shows it.
        """
        keys = self._persist(self._duplicates.load)
        logger.info("duplicate_filter_loaded keys=%d", keys)
        for plan in sorted(self._persist(self.unresolved), key=lambda plan: plan.stored_ms):
            if plan.token not in self._running and not self._persist(partial(self.claims.cover, plan)):
                self._run_again(plan)
                if not self._store.shared and plan.token in self._stored:
                    self._log.release(plan)
                self._acknowledge()

    def _run_again(self, plan: Plan) -> None:
        """Read a plan's records again and run it, after asking the log whether it is still to be run.

        A stamp that the clock does not explain is of a process whose clock is ahead, or of ours if it is behind; or the
        plan is forged. No clock decides: claimed plans are run, and the others are refused for everybody (R6c).
        """
        newest_ms = max(milliseconds(self._clock()), self.claims.floor_ms)
        if plan.stored_ms > newest_ms + _AHEAD_MS and self._persist(partial(self.claims.refuse, plan)):
            stamp = Instant(plan.stored_ms * 1_000_000).text
            logger.error(
                "plan_refused token=%s stamp=%s ranges=%s: nobody has begun it", plan.token, stamp, plan.ranges
            )
            metrics.PLANS_REFUSED.inc()
            self._persist(lambda: self._log.discard(plan))
            return
        logger.info("plan_resumed token=%s ranges=%s", plan.token, plan.ranges)
        records = self._persist(lambda: self._log.reread(plan))
        self._run_plan(plan, self._decode(records, most_months=None, clock_ms=plan.stored_ms), seen_at=-math.inf)

    def run(self) -> None:
        """Start, then consume until `stop` is set. Raises: Fatal: going on would lose or double usage."""
        try:
            self.start()
            while not self._stop.is_set():
                began = time.monotonic()
                if self.step() and not self._behind():
                    self._stop.wait(max(0, self._settings.interval_seconds - (time.monotonic() - began)))
            self._acknowledge()  # or the next process would run the last plan again
        except Stopped:
            logger.info("consumer_stopped_while_retrying")
        finally:
            self._reader.shutdown(cancel_futures=True)

    def step(self, wait_seconds: float = _IDLE_SECONDS) -> bool:
        """Store one batch, if the log has one, while the next one is read and decoded. Returns whether it had."""
        self._finish_pending()
        batch = self._ahead.result() if self._ahead else self._fetch(wait_seconds)
        self._ahead = None
        if not batch.records:
            self._acknowledge()
            return False
        faults.passing("ingest.before-plan")
        seen_at = time.monotonic()
        with _phase("plan"):
            plan = self._persist(lambda: self._log.plan(ranges_of(batch.records), self._stamp()))
        if plan is None:
            logger.info("batch_given_up records=%d: its partitions were given to another process", len(batch.records))
            self._runs.forget()
            return True
        batch = self._as_planned(batch, plan)
        faults.passing("ingest.after-plan")
        self._unacknowledged = None  # the plan has acknowledged it
        if self._behind():
            self._ahead = self._reader.submit(self._fetch, 0)
        self._run_plan(plan, batch, seen_at)
        if self._ahead is None:
            self._acknowledge()
        self._measure(batch)
        return True

    def _finish_pending(self) -> None:
        """Run the plans that came with partitions this process was given."""
        for plan in self._persist(self._log.pending):
            self._acknowledge()  # the batch before it: nothing else would, if no other came
            if plan.token in self._stored:  # its partition went and came back before the plan was acknowledged
                self._unacknowledged = plan
            else:
                self._run_again(plan)
            self._acknowledge()

    def _run_plan(self, plan: Plan, batch: Batch, seen_at: float) -> None:
        """Insert a planned batch; it is then to be acknowledged, or was given up and will be read again.

        Args: seen_at: monotonic seconds at which the plan was known to be this process's to run.
        """
        outer, self._stands_until = self._stands_until, seen_at + _FENCE_SECONDS
        self._running.append(plan.token)
        try:
            self._execute(plan, batch)
        except (Voided, _Superseded) as reason:
            logger.info("plan_discarded token=%s reason=%s", plan.token, type(reason).__name__.strip("_").lower())
            self._drop_ahead()
            self._persist(lambda: self._log.discard(plan))
        else:
            self._unacknowledged = plan
            self._stored[plan.token] = None
            if len(self._stored) > DEDUPLICATION_WINDOW:
                del self._stored[next(iter(self._stored))]
        finally:
            self._running.pop()
            self._stands_until = outer

    def _drop_ahead(self) -> None:
        """Forget the batch read ahead: the records before it are read again first."""
        if self._ahead:
            self._ahead.result()
            self._ahead = None
        self._runs.forget()

    def _acknowledge(self) -> None:
        plan, self._unacknowledged = self._unacknowledged, None
        if plan:
            with _phase("acknowledge"):
                self._persist(lambda: self._log.acknowledge(plan))
            faults.passing("ingest.after-acknowledge")

    def _fetch(self, wait_seconds: float) -> Batch:
        with _phase("poll"):
            records = self._persist(
                lambda: self._log.read(self._settings.batch_rows, self._settings.batch_bytes, wait_seconds)
            )
        with _phase("decode"):
            return self._without_runs(records)

    def _without_runs(self, records: Sequence[Record]) -> Batch:
        """Decode records that are to be planned, without those of a partition from the first of a long run of bad ones.

        Such a partition is held. A plan that is run again is decoded as it was planned, whatever the limit is now.
        """
        if self._assignments != self._log.assignments:
            self._assignments = self._log.assignments
            self._runs.forget()
        batch = self._decode(records, self._settings.batch_months)
        while batch.letters or self._runs.counting:
            run = self._runs.add(batch.outcomes())
            if run is None:
                break
            self._persist(partial(self._hold, run))
            records = [one for one in records if one.partition != run.partition or one.offset < run.offset]
            batch = self._decode(records, self._settings.batch_months)
        return batch

    def _hold(self, run: Run) -> None:
        self._log.hold(run)
        logger.error(
            "partition_held partition=%d first=%d records=%d reason=%s: nothing from offset %d on is stored. Mend what "
            "writes them, or set ingest.max_dead_letter_run above %d and restart to keep them as dead letters",
            run.partition,
            run.first,
            run.records,
            printable(run.reason),
            run.offset,
            run.records,
        )

    def _stamp(self) -> int:
        stamp_ms = max(milliseconds(self._clock()), self.claims.floor_ms)
        if stamp_ms > LATEST_STAMP_MS:  # a plan with it would be taken for forged
            raise ConfigurationError("the clock of this machine, or of one that made a meter, is past 2099: set it")
        return stamp_ms

    def _behind(self) -> bool:
        """Whether records wait behind the batch under way, so that the next plan will acknowledge it."""
        return self._log.waiting() > 0

    def _decode(self, records: Sequence[Record], most_months: int | None, clock_ms: int | None = None) -> Batch:
        now_ms = milliseconds(self._clock()) if clock_ms is None else clock_ms
        return decode_records(records, self._span, most_months, now_ms)

    def _as_planned(self, batch: Batch, plan: Plan) -> Batch:
        """Decode a batch again under its plan's stamp if it depends on the clock: a rerun of the plan does the same."""
        if not batch.depends_on(plan.stored_ms):
            return batch
        return decode_records(batch.claimed, self._span, None, plan.stored_ms)

    def _execute(self, plan: Plan, batch: Batch) -> None:
        """Insert a planned batch: the same rows in the same order under the same tokens, however often.

        Raises: Voided, _Superseded: nothing, or nothing more, may be inserted.
        """
        with _phase("deduplicate"):
            kept = self._drop_duplicates(plan, batch)
        faults.passing("ingest.after-claim")
        letters = self._store_letters(plan, batch.letters) if batch.letters else []
        if len(kept):
            self._insert(plan, "events", kept.block(plan.stored_ms), plan.token)
            self._duplicates.remember(kept)
        faults.passing("ingest.after-insert")
        if len(kept) < len(batch.events):
            self._keep_differing(plan, batch.events, kept)
        metrics.EVENTS_STORED.inc(len(kept))
        metrics.EVENTS_DUPLICATE.inc(len(batch.events) - len(kept))
        metrics.DEAD_LETTERS.inc(len(letters))

    def _keep_differing(self, plan: Plan, events: EventBatch, kept: EventBatch) -> None:
        """Keep duplicates that are no retries for somebody to look at."""
        with _phase("deduplicate"):
            found = find_differing(self._store, events, kept, self._duplicates.since_ms(plan))
        if len(found):
            self._insert(plan, "differing_duplicates", found.block(plan.stored_ms), f"differing-{plan.token}")
        metrics.EVENTS_DIFFERENT.inc(len(found))

    def _store_letters(self, plan: Plan, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        new = self._persist(lambda: new_letters(self._store, letters, plan.stored_ms))
        if new:
            self._insert(plan, "dead_letters", dead_letter_block(new, plan.stored_ms), f"dead-{plan.token}")
            if self._sink:
                self._persist(lambda: self._sink.send(new))  # type: ignore[union-attr]
        faults.passing("ingest.after-dead-letters")
        return new

    def _insert(self, plan: Plan, table: str, block: pa.Table, token: str) -> None:
        def attempt() -> None:
            self._check_fence(plan)
            faults.entering("ingest.in-insert", _INSERT_SECONDS)
            self._store.insert_block(table, block, token)

        with _phase("insert"):
            self._persist(attempt)
        metrics.BLOCKS.inc()

    def _drop_duplicates(self, plan: Plan, batch: Batch) -> EventBatch:
        while True:
            try:
                return self._persist(lambda: self._duplicates.drop(batch.events, plan))
            except KeysForgotten:
                self._catch_up()

    def _check_fence(self, plan: Plan) -> None:
        """Ask the log again if the plan was last seen to stand long ago: the process was paused, or the store away.

        Tables remember the tokens of a bounded number of blocks; an insert that comes back after all of them is new.
        """
        if time.monotonic() < self._stands_until:
            return
        if not self._log.holds(plan):
            raise _Superseded
        self._stands_until = time.monotonic() + _FENCE_SECONDS

    def _persist(self, attempt: Callable[[], _T]) -> _T:
        """Run `attempt` until it succeeds. Raises: Stopped: the process is to stop first."""
        retrying = Retrying(
            retry=retry_if_exception_type((Unavailable, StoreError)),
            wait=wait_random_exponential(multiplier=0.1, max=_LONGEST_PAUSE_SECONDS),
            stop=stop_when_event_set(self._stop),
            sleep=sleep_using_event(self._stop),
            before_sleep=self._count_failure,
            retry_error_callback=_give_up,
        )
        result = retrying(attempt)
        self.pulse.answered()
        return result

    def _count_failure(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.pulse.failed(error.code if isinstance(error, MeterportError) else "")
        metrics.INGEST_FAILURES.inc()
        metrics.INGEST_SECONDS.labels("paused").inc(state.upcoming_sleep)
        logger.warning(
            "ingest_attempt_failed attempt=%d next_in=%.1fs error=%s", state.attempt_number, state.upcoming_sleep, error
        )

    def _measure(self, batch: Batch) -> None:
        metrics.DELAY.observe(max(0, milliseconds(self._clock()) - batch.records[0].arrived_ms) / 1000)
        self._timestamps.add(batch.claimed, batch.records)


def _give_up(state: RetryCallState) -> None:
    raise Stopped from (state.outcome.exception() if state.outcome else None)


@contextmanager
def _phase(name: metrics.Phase) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        metrics.INGEST_SECONDS.labels(name).inc(time.monotonic() - began)
