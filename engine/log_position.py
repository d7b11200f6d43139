"""The place of a record in the order of listings, and the cursors that are made of it.

A place is when the record arrived, its partition and its offset.
"""

import base64
import binascii
from typing import NamedTuple

from engine.errors import InvalidRequest


class LogPosition(NamedTuple):
    """Where a page ends: the time listed by, then the position in the log. Of events `at_ms` is `time`, of dead
    letters their arrival; both in Unix milliseconds."""

    at_ms: int
    partition: int
    offset: int

    @property
    def cursor(self) -> str:
        """The position as text for a client to hand back; opaque to it."""
        return base64.urlsafe_b64encode(f"{self.at_ms},{self.partition},{self.offset}".encode()).decode()


def parse_cursor(cursor: str) -> LogPosition:
    """Return the position of a cursor. Raises: InvalidRequest: it is none of ours."""
    try:
        at_ms, partition, offset = base64.b64decode(cursor, b"-_", validate=True).decode("ascii").split(",")
        position = LogPosition(int(at_ms), int(partition), int(offset))
    except (binascii.Error, ValueError):
        raise InvalidRequest("cursor is invalid") from None
    if position.cursor != cursor or not _is_possible(position):
        raise InvalidRequest("cursor is invalid")
    return position


def _is_possible(position: LogPosition) -> bool:
    return all(0 <= number < 1 << bits for number, bits in zip(position, (63, 31, 63), strict=True))
