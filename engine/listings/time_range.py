"""Time ranges in requests: the check of their order, and their bounds as Unix milliseconds."""

from engine.errors import InvalidRequest
from engine.instants import BEGINNING, END, Instant


def check_order(first: str, from_: Instant | None, last: str, to: Instant | None) -> None:
    """Check that `from_` is before `to`. Raises: InvalidRequest: it names the bounds `first` and `last`."""
    if from_ is not None and to is not None and from_.nanos >= to.nanos:
        raise InvalidRequest(f"{first} must be before {last}")


def bound_ms(instant: Instant | None) -> int | None:
    """Return a bound in Unix milliseconds, rounded up and clamped; None if there is no bound."""
    return None if instant is None else clamp_ms(instant.ceil_milliseconds)


def clamp_ms(unix_ms: int) -> int:
    """Return the nearest bound of the times that events can have; beyond, some column types would overflow."""
    return min(max(unix_ms, BEGINNING * 1000), END * 1000)
