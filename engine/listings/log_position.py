"""The position of a record in a listing, and the cursor that a client gets for it.

A position consists of the time by which the listing is ordered, the partition and the offset.
"""

import base64
import binascii
from typing import NamedTuple

from engine.errors import InvalidRequest


class LogPosition(NamedTuple):
    """Where a page of a listing ends: the time of the record, then its partition and offset in the event log.

    `at_ms` is in Unix milliseconds: the `time` of an event, or the arrival of a dead letter.
    """

    at_ms: int
    partition: int
    offset: int

    @property
    def cursor(self) -> str:
        """The position as opaque text that a client sends back to get the next page."""
        return base64.urlsafe_b64encode(f"{self.at_ms},{self.partition},{self.offset}".encode()).decode()


def parse_cursor(cursor: str) -> LogPosition:
    """Return the position of a cursor. Raises: InvalidRequest: the text is not a cursor of this server."""
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
