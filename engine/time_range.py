"""Ranges of time that a request bounds: which end comes first, and their bounds as Unix milliseconds."""

from engine.errors import InvalidRequest
from engine.instants import BEGINNING, END, Instant


def check_order(first: str, from_: Instant | None, last: str, to: Instant | None) -> None:
    if from_ is not None and to is not None and from_.nanos >= to.nanos:
        raise InvalidRequest(f"{first} must be before {last}")


def bound_ms(instant: Instant | None) -> int | None:
    return None if instant is None else clamped(instant.ceil_milliseconds)


def clamped(unix_ms: int) -> int:
    """Return the nearest instant that events may have: what lies beyond is more than some columns hold."""
    return min(max(unix_ms, BEGINNING * 1000), END * 1000)
