"""Time: the present, the span of times that events can have, and RFC 3339 timestamps to the nanosecond.

Owns: every conversion between a datetime, Unix milliseconds, an `Instant` and RFC 3339 text. A datetime ends at
microseconds and does not keep the text of the offset, and the bounds of a query are compared as they were given: that
is what `Instant` is for. Time is read here alone, so that tests can stop it.
Source: RFC 3339 section 5.6.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_SECONDS = 86_400
BEGINNING = 0  # the first Unix second that an event can have
END = 4_102_444_800  # 2100-01-01T00:00:00Z: the first one that no event can have
LAST_MS = END * 1000 - 1
NANOS = 1_000_000_000
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:[0-5]\d)\Z", re.ASCII)


Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the present instant, aware, cut to the millisecond the store keeps."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def milliseconds(at: datetime) -> int:
    """Return Unix milliseconds, cut, exactly (no float)."""
    return (at - EPOCH) // timedelta(milliseconds=1)


def of_milliseconds(unix_ms: int) -> datetime:
    """Return the instant of Unix milliseconds."""
    return EPOCH + timedelta(milliseconds=unix_ms)


@dataclass(frozen=True, slots=True, order=True)
class Instant:
    """`nanos` since 1970-01-01T00:00:00Z, and the offset in seconds it was written with."""

    nanos: int
    offset_seconds: int = 0

    @property
    def ceil_milliseconds(self) -> int:
        """The first whole millisecond not before the instant: times kept to the millisecond compare alike to it."""
        return -(-self.nanos // 1_000_000)

    @property
    def datetime(self) -> datetime:
        """The instant in UTC, cut to microseconds."""
        return EPOCH + timedelta(microseconds=self.nanos // 1000)

    @property
    def text(self) -> str:
        """RFC 3339 with the original offset, trailing zeros of the fraction trimmed."""
        zone = UTC if self.offset_seconds == 0 else timezone(timedelta(seconds=self.offset_seconds))
        seconds, nanos = divmod(self.nanos, NANOS)
        at = (EPOCH + timedelta(seconds=seconds)).astimezone(zone)
        fraction = f".{nanos:09d}".rstrip("0") if nanos else ""
        offset = "Z" if self.offset_seconds == 0 else at.isoformat()[-6:]
        return f"{at:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + fraction + offset


def parse_instant(text: str) -> Instant:
    """Return the instant an RFC 3339 text names; digits past the ninth are cut.

    Raises: ValueError: it is not RFC 3339, or has no offset.
    """
    match = _RFC3339.match(text)
    if not match:
        raise ValueError("not an RFC 3339 timestamp with an offset")
    date, clock, fraction, zone = match.groups()
    at = datetime.fromisoformat(f"{date}T{clock}{'+00:00' if zone in 'Zz' else zone}")
    try:
        at.astimezone(UTC)  # 0001-01-01T00:00:00+01:00 has no year in UTC
    except OverflowError:
        raise ValueError("not within the years 0001 to 9999 in UTC") from None
    offset = at.utcoffset() or timedelta()
    delta = at - EPOCH
    nanos = (delta.days * DAY_SECONDS + delta.seconds) * NANOS + int((fraction or "").ljust(9, "0"))
    return Instant(nanos, round(offset.total_seconds()))


def timestamp_text(unix_ms: int) -> str:
    return Instant(unix_ms * 1_000_000).text
