"""The arrival time of records whose timestamp cannot be true, and the report about them.

Owns: the rule that such a record arrived at the stamp of its plan (`Plan.stored_ms`). A batch is decoded before it is
planned. So it is judged by the clock first, and decoded again under the plan's stamp where that makes a difference:
every run of the plan then produces the same rows.
Source: engine/events/arrival_limits.py; docs/contract.md 3.5; docs/design.md R7 (the same rows on each attempt).
"""

import logging
import math
import time
from collections.abc import Callable, Sequence

from engine import metrics
from engine.events.arrival_limits import EARLIEST_CREDIBLE_MS, MAX_AHEAD_MS, is_credible
from ingest.event_log import Record

logger = logging.getLogger(__name__)
_REPORT_SECONDS = 60


def with_credible_arrivals(records: Sequence[Record], clock_ms: int) -> Sequence[Record]:
    """Return the records with the arrival they are stored with: `clock_ms` where the timestamp cannot be true.

    If every timestamp is credible, the same object is returned.
    """
    timestamps = [record.arrived_ms for record in records]
    if not timestamps or (min(timestamps) >= EARLIEST_CREDIBLE_MS and max(timestamps) <= clock_ms + MAX_AHEAD_MS):
        return records
    return [
        record if is_credible(record.arrived_ms, clock_ms) else record._replace(arrived_ms=clock_ms)
        for record in records
    ]


class TimestampReport:
    """Counts records whose timestamp is not used, and logs one of them at most once a minute. Not thread-safe."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._last_logged = -math.inf  # monotonic seconds
        self._unreported = 0

    def add(self, as_read: Sequence[Record], stored: Sequence[Record]) -> None:
        """Count the records whose arrival was replaced, and log the first of them if the last log line is a minute old.

        Args: as_read: the records as they were read. stored: the same records with the arrival they are stored with.
        """
        ignored = [one for one, other in zip(as_read, stored, strict=True) if one.arrived_ms != other.arrived_ms]
        if not ignored:
            return
        metrics.TIMESTAMPS_IGNORED.inc(len(ignored))
        self._unreported += len(ignored)
        now = self._monotonic()
        if now - self._last_logged < _REPORT_SECONDS:
            return
        first = ignored[0]
        logger.warning(
            "timestamps_ignored records=%d partition=%d offset=%d timestamp=%d: the time of storing is used instead; "
            "a timestamp must be the arrival time in Unix milliseconds",
            self._unreported,
            first.partition,
            first.offset,
            first.arrived_ms,
        )
        self._last_logged, self._unreported = now, 0
