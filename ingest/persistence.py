"""Steps that may fail because the log or the store fails: each is retried until it succeeds.

Owns: how long to pause between attempts, what is counted and logged about them, and the time that each phase takes.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_when_event_set, wait_random_exponential
from tenacity.nap import sleep_using_event

from engine import metrics, tracing
from engine.errors import MeterportError, StoreError, Unavailable
from engine.health import Pulse

_T = TypeVar("_T")
logger = logging.getLogger(__name__)
_MAX_PAUSE_SECONDS = 5


class Stopped(Exception):
    """Ends a retry when the process is asked to stop. The batch stays planned."""


class Retrier:
    """Runs steps until they succeed, or until `stop` is set. `pulse` knows when a step last succeeded."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self.pulse = Pulse()

    def until_done(self, attempt: Callable[[], _T]) -> _T:
        """Run `attempt` until it succeeds. Raises: Stopped: the process must stop first."""
        retrying = Retrying(
            retry=retry_if_exception_type((Unavailable, StoreError)),
            wait=wait_random_exponential(multiplier=0.1, max=_MAX_PAUSE_SECONDS),
            stop=stop_when_event_set(self._stop),
            sleep=sleep_using_event(self._stop),
            before_sleep=self._count_failure,
            retry_error_callback=_give_up,
        )
        result = retrying(attempt)
        self.pulse.succeeded()
        return result

    def _count_failure(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        code = error.code if isinstance(error, MeterportError) else ""
        self.pulse.failed(code)
        tracing.spans.attempt_failed(code)
        metrics.INGEST_FAILURES.inc()
        metrics.INGEST_SECONDS.labels("paused").inc(state.upcoming_sleep)
        logger.warning(
            "ingest_attempt_failed attempt=%d next_in=%.1fs error=%s", state.attempt_number, state.upcoming_sleep, error
        )


def _give_up(state: RetryCallState) -> None:
    raise Stopped from (state.outcome.exception() if state.outcome else None)


@contextmanager
def phase(name: metrics.Phase) -> Iterator[None]:
    """Count how long a phase of ingest takes. In a block it is a span too."""
    began = time.monotonic()
    try:
        with tracing.spans.step(name):
            yield
    finally:
        metrics.INGEST_SECONDS.labels(name).inc(time.monotonic() - began)
