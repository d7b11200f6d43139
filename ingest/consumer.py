"""Log records to ClickHouse blocks, exactly once.

Owns: the loop read → decode → plan → insert → acknowledge. A plan is durable before its insert starts, and an insert
carries a token made from its offsets, so whoever runs the plan again changes nothing twice. While a batch is
inserted the next is read and decoded, in a second thread; it is planned only when its turn has come.

| the process dies                       | what the next one does                                 |
|----------------------------------------|--------------------------------------------------------|
| before the plan                        | reads the same records and plans them                  |
| after the plan, before the insert      | inserts: the first time everywhere                     |
| in the middle of the insert            | inserts again: completes the tables that miss it       |
| after the insert, before the next plan | inserts again: skipped everywhere                      |

An insert that fails is tried again for ever under the same token. One thread runs the loop.
Limits: a block is at most `batch_rows` rows, `batch_bytes` bytes, `batch_months` calendar months.
Source: docs/design.md R6–R8.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeVar

import pyarrow as pa
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_when_event_set, wait_random_exponential
from tenacity.nap import sleep_using_event

from engine import faults, metrics
from engine.clock import Clock, milliseconds, utc_now
from engine.cloudevents import TimeSpan, decode_event
from engine.errors import InvalidEvent, StoreError, Unavailable
from engine.events import Event, event_block
from engine.settings import IngestSettings
from engine.store import Store
from ingest.dead_letters import DeadLetter, DeadLetterCap, dead_letter_block
from ingest.duplicates import Duplicates
from ingest.log import EventLog, Plan, Record, ranges_of

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_IDLE_SECONDS = 0.5  # how long one read waits for a record, and so how soon the loop sees that it shall stop
_LONGEST_PAUSE_SECONDS = 5


class Stopped(Exception):
    """Raised out of a retry when the process is asked to stop; the batch stays planned."""


@dataclass(frozen=True, slots=True)
class _Batch:
    records: Sequence[Record]
    events: Sequence[Event]
    letters: Sequence[DeadLetter]


class Consumer:
    """Moves one log into one store until it is told to stop.

    `earliest_ms`: the stamp no batch may be stored before (meters count on it, engine/fill.py).
    """

    def __init__(
        self,
        log: EventLog,
        store: Store,
        settings: IngestSettings,
        stop: threading.Event,
        earliest_ms: Callable[[], int] = lambda: 0,
        clock: Clock = utc_now,
    ) -> None:
        self._log = log
        self._store = store
        self._settings = settings
        self._stop = stop
        self._earliest_ms = earliest_ms
        self._clock = clock
        self._span = TimeSpan.of(settings)
        self._duplicates = Duplicates(store, timedelta(days=settings.duplicate_window_days))
        self._cap = DeadLetterCap(settings.max_dead_letter_run)
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="log-reader")
        self._ahead: Future[_Batch] | None = None  # the next batch, read and decoded while this one is inserted

    def start(self) -> None:
        """Fill the duplicate filter, then finish what a dead process planned. Raises: Stopped."""
        keys = self._persist(lambda: self._duplicates.load(milliseconds(self._clock())))
        _log.info("duplicate_filter_loaded keys=%d", keys)
        for plan in self._log.pending():
            _log.info("plan_resumed ranges=%s", plan.ranges)
            records = self._persist(lambda plan=plan: self._log.reread(plan))  # type: ignore[misc]
            self._execute(plan, self._decode(records, most_months=None))
            self._persist(lambda plan=plan: self._log.acknowledge(plan))  # type: ignore[misc]

    def run(self) -> None:
        """Start, then consume until `stop` is set. Raises: Fatal: going on would lose or double usage."""
        try:
            self.start()
            while not self._stop.is_set():
                began = time.monotonic()
                if self.step() and not self._behind():
                    self._stop.wait(max(0, self._settings.interval_seconds - (time.monotonic() - began)))
        except Stopped:
            _log.info("consumer_stopped_while_retrying")
        finally:
            self._reader.shutdown(cancel_futures=True)

    def step(self, wait_seconds: float = _IDLE_SECONDS) -> bool:
        """Store one batch, if the log has one, while the next one is read and decoded. Returns whether it had."""
        batch = self._ahead.result() if self._ahead else self._fetch(wait_seconds)
        self._ahead = None
        if not batch.records:
            return False
        faults.passing("ingest.before-plan")
        with _phase("plan"):
            plan = self._persist(lambda: self._log.plan(ranges_of(batch.records), self._stamp()))
        faults.passing("ingest.after-plan")
        if self._behind():
            self._ahead = self._reader.submit(self._fetch, 0)
        self._execute(plan, batch)
        if self._ahead is None:
            with _phase("acknowledge"):
                self._persist(lambda: self._log.acknowledge(plan))
            faults.passing("ingest.after-acknowledge")
        self._measure(batch)
        return True

    def _fetch(self, wait_seconds: float) -> _Batch:
        with _phase("poll"):
            records = self._persist(
                lambda: self._log.read(self._settings.batch_rows, self._settings.batch_bytes, wait_seconds)
            )
        with _phase("decode"):
            return self._decode(records, self._settings.batch_months)

    def _stamp(self) -> int:
        return max(milliseconds(self._clock()), self._earliest_ms())

    def _behind(self) -> bool:
        """Whether records wait behind the batch under way, so that the next plan will acknowledge it."""
        return self._log.waiting() > 0

    def _decode(self, records: Sequence[Record], most_months: int | None) -> _Batch:
        """Decode records, up to the first that would make the block span more than `most_months`."""
        events: list[Event] = []
        letters: list[DeadLetter] = []
        months: set[int] = set()
        for at, record in enumerate(records):
            try:
                event = decode_event(record.value, record.arrived_ms, record.partition, record.offset, self._span)
            except InvalidEvent as error:
                letters.append(DeadLetter(record, str(error)))
                self._cap.bad(letters[-1])
                continue
            month = _month(event.time_ms // 86_400_000)
            if month not in months and len(months) == most_months:
                return _Batch(records[:at], events, letters)
            months.add(month)
            events.append(event)
            self._cap.good()
        return _Batch(records, events, letters)

    def _execute(self, plan: Plan, batch: _Batch) -> None:
        """Insert a planned batch: the same rows in the same order under the same tokens, however often."""
        if batch.letters:
            block = dead_letter_block(batch.letters, plan.stored_ms)
            self._insert("dead_letters", block, f"dead-{plan.token}")
            faults.passing("ingest.after-dead-letters")
        with _phase("deduplicate"):
            kept = self._persist(lambda: self._duplicates.drop(batch.events, plan.stored_ms))
        if kept:
            self._insert("events", event_block(kept, plan.stored_ms), plan.token)
            self._duplicates.remember(kept)
        faults.passing("ingest.after-insert")
        metrics.EVENTS_STORED.inc(len(kept))
        metrics.EVENTS_DUPLICATE.inc(len(batch.events) - len(kept))
        metrics.DEAD_LETTERS.inc(len(batch.letters))

    def _insert(self, table: str, block: pa.Table, token: str) -> None:
        with _phase("insert"):
            self._persist(lambda: self._store.insert_block(table, block, token))
        metrics.BLOCKS.inc()

    def _persist(self, attempt: Callable[[], _T]) -> _T:
        """Run `attempt` until it succeeds. Raises: Stopped: the process is to stop first."""
        retrying = Retrying(
            retry=retry_if_exception_type((Unavailable, StoreError)),
            wait=wait_random_exponential(multiplier=0.1, max=_LONGEST_PAUSE_SECONDS),
            stop=stop_when_event_set(self._stop),
            sleep=sleep_using_event(self._stop),
            before_sleep=_count_failure,
            retry_error_callback=_give_up,
        )
        return retrying(attempt)

    def _measure(self, batch: _Batch) -> None:
        metrics.DELAY.observe(max(0, milliseconds(self._clock()) - batch.records[0].arrived_ms) / 1000)


@lru_cache(maxsize=100_000)
def _month(day: int) -> int:
    """Return the calendar month (UTC) of a day since 1970-01-01, counted from year 0."""
    date = datetime.fromtimestamp(day * 86_400, UTC)
    return date.year * 12 + date.month


def _count_failure(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    metrics.INGEST_FAILURES.inc()
    metrics.INGEST_SECONDS.labels("paused").inc(state.upcoming_sleep)
    _log.warning(
        "ingest_attempt_failed attempt=%d next_in=%.1fs error=%s", state.attempt_number, state.upcoming_sleep, error
    )


def _give_up(state: RetryCallState) -> None:
    raise Stopped from (state.outcome.exception() if state.outcome else None)


@contextmanager
def _phase(name: metrics.Phase) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        metrics.INGEST_SECONDS.labels(name).inc(time.monotonic() - began)
