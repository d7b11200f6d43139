"""Time: the current time, the range of times that events can have, and RFC 3339 timestamps in nanoseconds.

Owns: every conversion between a datetime, Unix milliseconds, an `Instant` and RFC 3339 text. `Instant` exists because a
datetime has only microseconds and does not keep the offset as it was written, while the bounds of a query are compared
exactly as they were given. Only this module reads the clock, so that tests can stop it.
Source: RFC 3339 section 5.6.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_SECONDS = 86_400
BEGINNING = 0  # The first Unix second that an event can have.
END = 4_102_444_800  # 2100-01-01T00:00:00Z: the first Unix second after all events.
LAST_MS = END * 1000 - 1
NANOS = 1_000_000_000
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:[0-5]\d)\Z", re.ASCII)


Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the current time in UTC, rounded down to a millisecond, as the store keeps it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def milliseconds(instant: datetime) -> int:
    """Return a datetime as Unix milliseconds, rounded down. The result is exact, because no float is used."""
    return (instant - EPOCH) // timedelta(milliseconds=1)


def of_milliseconds(unix_ms: int) -> datetime:
    """Return Unix milliseconds as a datetime in UTC."""
    return EPOCH + timedelta(milliseconds=unix_ms)


@dataclass(frozen=True, slots=True, order=True)
class Instant:
    """An instant as nanoseconds since 1970-01-01T00:00:00Z, with the offset in seconds that it was written with."""

    nanos: int
    offset_seconds: int = 0

    @property
    def ceil_milliseconds(self) -> int:
        """The instant rounded up to Unix milliseconds.

        A time in milliseconds is before the instant exactly if it is before this value.
        """
        return -(-self.nanos // 1_000_000)

    @property
    def datetime(self) -> datetime:
        """The instant in UTC, rounded down to microseconds."""
        return EPOCH + timedelta(microseconds=self.nanos // 1000)

    @property
    def text(self) -> str:
        """The instant as RFC 3339 text with its original offset, without trailing zeros in the fraction."""
        zone = UTC if self.offset_seconds == 0 else timezone(timedelta(seconds=self.offset_seconds))
        seconds, nanos = divmod(self.nanos, NANOS)
        local = (EPOCH + timedelta(seconds=seconds)).astimezone(zone)
        fraction = f".{nanos:09d}".rstrip("0") if nanos else ""
        offset = "Z" if self.offset_seconds == 0 else local.isoformat()[-6:]
        return f"{local:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + fraction + offset


def parse_instant(text: str) -> Instant:
    """Return the instant of an RFC 3339 text; digits after the ninth of the fraction are ignored.

    Raises: ValueError: the text is not RFC 3339, has no offset, or is outside the years 0001 to 9999 in UTC.
    """
    match = _RFC3339.match(text)
    if not match:
        raise ValueError("not an RFC 3339 timestamp with an offset")
    date, clock, fraction, zone = match.groups()
    local = datetime.fromisoformat(f"{date}T{clock}{'+00:00' if zone in 'Zz' else zone}")
    try:
        local.astimezone(UTC)  # 0001-01-01T00:00:00+01:00 has no valid year in UTC.
    except OverflowError:
        raise ValueError("not within the years 0001 to 9999 in UTC") from None
    offset = local.utcoffset() or timedelta()
    delta = local - EPOCH
    nanos = (delta.days * DAY_SECONDS + delta.seconds) * NANOS + int((fraction or "").ljust(9, "0"))
    return Instant(nanos, round(offset.total_seconds()))


def timestamp_text(unix_ms: int) -> str:
    """Return Unix milliseconds as RFC 3339 text in UTC."""
    return Instant(unix_ms * 1_000_000).text
