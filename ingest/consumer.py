"""Log records to ClickHouse blocks, exactly once.

Owns: the loop read → decode → plan → claim → insert → acknowledge. A plan is durable before its insert starts, and the
insert carries a token made from the plan's offsets, so a plan that is run again changes nothing twice. While one batch
is inserted, a second thread reads and decodes the next one. That one is planned only when its turn has come.

| the process dies                       | what the next process does                             |
|----------------------------------------|--------------------------------------------------------|
| before the plan                        | reads the same records and plans them                  |
| after the plan, before the insert      | inserts for the first time, into every table           |
| in the middle of the insert            | inserts again: completes the tables that lack it       |
| after the insert, before the next plan | inserts again: every table skips it                    |
| not at all: it was only paused         | the paused one's plans are refused, inserts skipped    |

An insert that fails is retried without limit under the same token, as long as the plan is this process's to run. One
thread runs the loop.
Limits: a block has at most `batch_rows` rows, `batch_bytes` bytes and `batch_months` calendar months.
Source: docs/design.md R6–R8 (plans, blocks, retries), R6c (refused plans), R11 (duplicates).
"""

import gc
import logging
import math
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from functools import partial

from engine import faults, metrics, tracing
from engine.config.settings import IngestSettings
from engine.errors import ConfigurationError
from engine.events.cloudevents import TimeSpan
from engine.instants import Clock, Instant, milliseconds, utc_now
from engine.store.clickhouse import DEDUPLICATION_WINDOW, Store
from engine.texts import printable
from ingest.arrival_times import TimestampReport
from ingest.block_writer import BlockWriter, Superseded
from ingest.claims import BatchClaims
from ingest.dead_letters import DeadLetterRuns, DeadLetterSink
from ingest.decoding import Batch, decode_records
from ingest.duplicates import Duplicates, Voided
from ingest.event_log import LATEST_STAMP_MS, DeadLetterRun, EventLog, Plan, Record, ranges_of
from ingest.persistence import Retrier, Stopped, phase

logger = logging.getLogger(__name__)
_READ_WAIT_SECONDS = 0.5  # how long one read waits for a record, and so how soon the loop sees that it must stop
_SWITCH_INTERVAL_SECONDS = 0.0005  # default 0.005: after each step in C the loop waits so long for the reading thread
_GC_THRESHOLD = 100_000  # default 700; a batch keeps all its objects, so collecting garbage earlier is wasted work
_SUSPECT_AHEAD_MS = 3_600_000  # a plan stamped further ahead of our clock is run only if it was claimed


class Consumer:
    """Moves one log into one store until it is asked to stop. `dead_letter_sink` also receives each dead letter."""

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
        retrier = Retrier(stop)
        self.pulse = retrier.pulse  # of every step that may fail because the log or the store fails
        self._retry_until_done = retrier.until_done
        self._span = TimeSpan.of(settings)
        window = timedelta(days=settings.duplicate_window_days)
        self._duplicates = Duplicates(store, self.claims, log.planned, window, clock)
        self.writer = BlockWriter(log, store, self._duplicates, retrier, self._catch_up, dead_letter_sink)
        self._dead_letter_runs = DeadLetterRuns(settings.max_dead_letter_run)
        self._last_assignments = 0  # `EventLog.assignments` at the last read
        self._timestamp_report = TimestampReport()
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="log-reader")
        self._prefetched: Future[Batch] | None = None  # the next batch, read and decoded while this one is inserted
        self._unacknowledged: Plan | None = None  # the last stored plan, not yet acknowledged
        self._last_span: object = None  # of the last stored plan
        self._running_tokens: list[str] = []  # tokens of the plans this process is running
        self._stored_tokens: dict[str, None] = {}  # tokens of the plans this process has stored, the oldest first

    def start(self) -> None:
        """Fill the duplicate filter, then finish the plans that a dead process left. Raises: Stopped.

        Sets two limits for the whole Python process: how often threads switch, and how often garbage is collected.
        """
        sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
        gc.set_threshold(_GC_THRESHOLD, 20, 100)
        self._catch_up()
        self._finish_pending()

    def unresolved(self) -> list[Plan]:
        """Return the plans that may be stored in part: they are not acknowledged, and this process has not stored them.

        Any thread may call it. Raises: LogUnavailable.
        """
        return [plan for plan in self._log.planned() if plan.token not in self._stored_tokens]

    def _catch_up(self) -> None:
        """Load the duplicate filter, and run every plan that may have stored events that no claim shows.

        A plan that is run again must keep what its first run kept. So no event may be judged while another plan may
        have stored that event and neither `event_keys` nor a claim shows it.
        """
        keys = self._retry_until_done(self._duplicates.load)
        logger.info("duplicate_filter_loaded keys=%d", keys)
        for plan in sorted(self._retry_until_done(self.unresolved), key=lambda plan: plan.stored_ms):
            if plan.token not in self._running_tokens and not self._retry_until_done(partial(self.claims.covers, plan)):
                self._rerun(plan)
                if not self._store.shared and plan.token in self._stored_tokens:
                    self._log.release(plan)
                self._acknowledge()

    def _rerun(self, plan: Plan) -> None:
        """Read a plan's records again and run the plan, but refuse it if its stamp is suspect and it was not claimed.

        A stamp far ahead of our clock has one of three causes: the clock of the process that made the plan is ahead,
        our clock is behind, or the plan is forged. No clock decides: a plan that was claimed is run, any other is
        refused for every process (R6c: refused plans).
        """
        newest_ms = max(milliseconds(self._clock()), self.claims.floor_ms)
        if plan.stored_ms > newest_ms + _SUSPECT_AHEAD_MS and self._retry_until_done(partial(self.claims.refuse, plan)):
            stamp = Instant(plan.stored_ms * 1_000_000).text
            logger.error(
                "plan_refused token=%s stamp=%s ranges=%s: no process has begun it", plan.token, stamp, plan.ranges
            )
            metrics.PLANS_REFUSED.inc()
            self._retry_until_done(lambda: self._log.discard(plan))
            return
        logger.info("plan_resumed token=%s ranges=%s", plan.token, plan.ranges)
        records = self._retry_until_done(lambda: self._log.reread(plan))
        batch = self._decode(records, max_months=None, clock_ms=plan.stored_ms)
        with self._block_span(batch.records):
            tracing.spans.note({"meterport.block.resumed": True})
            self._run_plan(plan, batch, last_confirmed=-math.inf)

    def run(self) -> None:
        """Start, then consume until `stop` is set. Raises: Fatal: going on would lose usage or count it twice."""
        try:
            self.start()
            while not self._stop.is_set():
                began = time.monotonic()
                if self.step() and not self._has_more():
                    self._stop.wait(max(0, self._settings.interval_seconds - (time.monotonic() - began)))
            self._acknowledge()  # otherwise the next process would run the last plan again
        except Stopped:
            logger.info("consumer_stopped_while_retrying")
        finally:
            self._reader.shutdown(cancel_futures=True)

    def step(self, wait_seconds: float = _READ_WAIT_SECONDS) -> bool:
        """Store one batch, if the log has one, while the next one is read and decoded. Returns whether it had one."""
        self._finish_pending()
        batch = self._prefetched.result() if self._prefetched else self._fetch(wait_seconds)
        self._prefetched = None
        if not batch.records:
            self._acknowledge()
            return False
        with self._block_span(batch.records):
            self._plan_and_store(batch)
        return True

    def _plan_and_store(self, batch: Batch) -> None:
        faults.hit("ingest.before-plan")
        last_confirmed = time.monotonic()
        with phase("plan"):
            plan = self._retry_until_done(lambda: self._log.plan(ranges_of(batch.records), self._next_stamp_ms()))
        if plan is None:
            logger.info("batch_given_up records=%d: its partitions now belong to another process", len(batch.records))
            self._dead_letter_runs.reset()
            return
        batch = self._decode_under_stamp(batch, plan)
        faults.hit("ingest.after-plan")
        self._unacknowledged = None  # making the new plan has acknowledged it
        if self._has_more():
            self._prefetched = self._reader.submit(self._fetch, 0)
        self._run_plan(plan, batch, last_confirmed)
        if self._prefetched is None:
            self._acknowledge()
        self._measure(batch)

    def _block_span(self, records: Sequence[Record]) -> tracing.Span:
        return tracing.spans.block(self._log.name, (record.headers for record in records))

    def _finish_pending(self) -> None:
        """Run the plans that came with the partitions this process was given."""
        for plan in self._retry_until_done(self._log.pending):
            self._acknowledge()  # the plan before it: if no batch follows, nothing else would acknowledge it
            if plan.token in self._stored_tokens:  # its partition went and came back before the plan was acknowledged
                self._unacknowledged, self._last_span = plan, None  # other blocks may have been stored since
            else:
                self._rerun(plan)
            self._acknowledge()

    def _run_plan(self, plan: Plan, batch: Batch, last_confirmed: float) -> None:
        """Insert a planned batch. Afterwards it is to be acknowledged, or it was given up and will be read again.

        Args: last_confirmed: monotonic seconds at which the plan was known to be this process's to run.
        """
        counts = {"events": len(batch.events), "dead_letters": len(batch.letters), "partitions": len(plan.ranges)}
        tracing.spans.note({f"meterport.block.{name}": count for name, count in counts.items()})
        tracing.spans.note({"meterport.block.token": plan.token})
        self._running_tokens.append(plan.token)
        try:
            self.writer.run(plan, batch, last_confirmed)
        except (Voided, Superseded) as reason:
            logger.info("plan_discarded token=%s reason=%s", plan.token, type(reason).__name__.lower())
            self._drop_prefetched()
            self._retry_until_done(lambda: self._log.discard(plan))
        else:
            self._unacknowledged, self._last_span = plan, tracing.spans.current()
            self._stored_tokens[plan.token] = None
            if len(self._stored_tokens) > DEDUPLICATION_WINDOW:
                del self._stored_tokens[next(iter(self._stored_tokens))]
        finally:
            self._running_tokens.pop()

    def _drop_prefetched(self) -> None:
        """Forget the batch that was read ahead: the records before it must be read again first."""
        if self._prefetched:
            self._prefetched.result()
            self._prefetched = None
        self._dead_letter_runs.reset()

    def _acknowledge(self) -> None:
        plan, self._unacknowledged = self._unacknowledged, None
        if plan:
            with tracing.spans.under(self._last_span), phase("acknowledge"):
                self._retry_until_done(lambda: self._log.acknowledge(plan))
            faults.hit("ingest.after-acknowledge")

    def _fetch(self, wait_seconds: float) -> Batch:
        with phase("poll"):
            records = self._retry_until_done(
                lambda: self._log.read(self._settings.batch_rows, self._settings.batch_bytes, wait_seconds)
            )
        with phase("decode"):
            return self._decode_and_hold(records)

    def _decode_and_hold(self, records: Sequence[Record]) -> Batch:
        """Decode records that are to be planned. Leave out a partition's records from the start of a run of bad ones.

        The run is too long if it reaches `ingest.max_dead_letter_run`; then its partition is held. A plan that is run
        again is decoded as it was planned, whatever the limit is now.
        """
        if self._last_assignments != self._log.assignments:
            self._last_assignments = self._log.assignments
            self._dead_letter_runs.reset()
        batch = self._decode(records, self._settings.batch_months)
        while batch.letters or self._dead_letter_runs.is_counting:
            run = self._dead_letter_runs.count(batch.outcomes())
            if run is None:
                break
            self._retry_until_done(partial(self._hold, run))
            records = [one for one in records if one.partition != run.partition or one.offset < run.offset]
            batch = self._decode(records, self._settings.batch_months)
        return batch

    def _hold(self, run: DeadLetterRun) -> None:
        self._log.hold(run)
        logger.error(
            "partition_held partition=%d first=%d records=%d reason=%s: nothing from offset %d on is stored. Repair "
            "what writes them, or set ingest.max_dead_letter_run above %d and restart to keep them as dead letters",
            run.partition,
            run.first,
            run.records,
            printable(run.reason),
            run.offset,
            run.records,
        )

    def _next_stamp_ms(self) -> int:
        stamp_ms = max(milliseconds(self._clock()), self.claims.floor_ms)
        if stamp_ms > LATEST_STAMP_MS:  # a plan with such a stamp would be taken for a forged one
            raise ConfigurationError(
                "the clock of this machine, or of a machine that created a meter, is after 2099: correct that clock"
            )
        return stamp_ms

    def _has_more(self) -> bool:
        """Return whether records wait after the batch under way, so that the next plan will acknowledge it."""
        return self._log.waiting() > 0

    def _decode(self, records: Sequence[Record], max_months: int | None, clock_ms: int | None = None) -> Batch:
        now_ms = milliseconds(self._clock()) if clock_ms is None else clock_ms
        return decode_records(records, self._span, max_months, now_ms)

    def _decode_under_stamp(self, batch: Batch, plan: Plan) -> Batch:
        """Decode a batch again under its plan's stamp if it depends on the clock. A rerun of the plan does the same."""
        if not batch.depends_on(plan.stored_ms):
            return batch
        return decode_records(batch.as_read, self._span, None, plan.stored_ms)

    def _measure(self, batch: Batch) -> None:
        metrics.DELAY.observe(max(0, milliseconds(self._clock()) - batch.records[0].arrived_ms) / 1000)
        self._timestamp_report.add(batch.as_read, batch.records)
