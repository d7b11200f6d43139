"""Records that could not become an event: kept with their reason, and counted, lest a bad deploy drain the log away.

Owns: `DeadLetter`, its block, and the cap on how many may come in a row. Source: docs/design.md R8.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from engine.errors import TooManyDeadLetters
from ingest.log import Record

_MILLISECOND = pa.timestamp("ms", "UTC")


class DeadLetter(NamedTuple):
    """A record and why it is no event."""

    record: Record
    reason: str


class DeadLetterCap:
    """Stops ingest at `limit` unreadable records in a row."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._run = 0

    def good(self) -> None:
        """A record was an event: the run ends."""
        self._run = 0

    def bad(self, letter: DeadLetter) -> None:
        """A record was none. Raises: TooManyDeadLetters: it is the last straw."""
        self._run += 1
        if self._run >= self._limit:
            raise TooManyDeadLetters(
                f"{self._run} records in a row are no events, the last at {letter.record.partition}:"
                f"{letter.record.offset}: {letter.reason}; nothing of this batch was stored"
            )


def dead_letter_block(letters: Sequence[DeadLetter], stored_ms: int) -> pa.Table:
    """Return dead letters as one block of the table `dead_letters`."""
    records = [letter.record for letter in letters]
    return pa.table(
        {
            "arrived_at": pa.array([record.arrived_ms for record in records], _MILLISECOND),
            "stored_at": pa.array([stored_ms] * len(records), _MILLISECOND),
            "log_partition": pa.array([record.partition for record in records], pa.int32()),
            "log_offset": pa.array([record.offset for record in records], pa.int64()),
            "reason": pa.array([letter.reason for letter in letters], pa.string()),
            "value": pa.array([record.value for record in records], pa.binary()),
        }
    )
