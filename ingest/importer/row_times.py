"""The times of an import's rows as RFC 3339: local times that occur twice, and times that are numbers.

Owns: the rules for a local time that occurs twice, and numbers that count from 1970-01-01T00:00:00Z in some unit. What
a single time means is defined in engine/usage/local_times.py.
"""

from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from engine.errors import InvalidRequest
from engine.instants import EPOCH, Instant, parse_instant
from engine.usage.local_times import EXPECTED_TIME, WrittenTime, ambiguity_message, is_number, read_time

_NANOS = 1_000_000_000


class TimeUnit(StrEnum):
    """The unit of a time written as a number, counted from 1970-01-01T00:00:00Z."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"


class Ambiguous(StrEnum):
    """Which one is meant if a local time occurs twice, because the clock is set back."""

    ERROR = "error"
    EARLIER = "earlier"
    LATER = "later"
    INFER = "infer"


_UNIT_NANOS = {
    TimeUnit.SECONDS: _NANOS,
    TimeUnit.MILLISECONDS: 1_000_000,
    TimeUnit.MICROSECONDS: 1_000,
    TimeUnit.NANOSECONDS: 1,
}


class RowTimes:
    """Reads the times of a file's rows, one after another.

    Args: unit: times are numbers of this unit; None: no number is a time. ambiguous: which of two times is meant.
    """

    def __init__(self, zone: ZoneInfo, unit: TimeUnit | None = None, ambiguous: Ambiguous = Ambiguous.ERROR) -> None:
        self.zone = zone
        self._unit = unit
        self._ambiguous = ambiguous
        self._last_rows: dict[str, _LastRow] = {}
        self.inferred_later: str | None = None  # the last time, if it was inferred to be the later of two
        self.earlier = self.later = 0  # how many ambiguous times were read as the earlier and as the later one

    def timestamp(self, text: str, series: str = "") -> str:
        """Return the RFC 3339 timestamp of a time written as `text`.

        series: with Ambiguous.INFER, the order of the rows of one series shows when the clock was set back.
        Raises: InvalidRequest: it is not a time, or it cannot be known which one.
        """
        self.inferred_later = None
        if self._unit:
            return _from_number(text, self._unit)
        reading = _read(text, self.zone)
        if self._ambiguous is Ambiguous.INFER and reading.local:
            return self._infer(reading, series)
        if not reading.later:
            return reading.text
        if self._ambiguous is Ambiguous.ERROR:
            raise self._ambiguity(reading, "earlier, later or infer")
        return self._choose(reading, later=self._ambiguous is Ambiguous.LATER)

    def constant(self, text: str) -> str:
        """Return the time that all rows have. Raises: InvalidRequest: it is not a time, or it occurs twice."""
        if self._unit:
            return _from_number(text, self._unit)
        reading = _read(text, self.zone)
        if not reading.later or self._ambiguous is Ambiguous.EARLIER:
            return reading.text
        if self._ambiguous is Ambiguous.LATER:
            return reading.later
        raise self._ambiguity(reading, "earlier or later")  # There is no order of rows to infer it from.

    def as_data(self, text: str) -> str:
        """Return a time that is not the event's time. If it occurs twice, it stays as written, without an offset."""
        reading = _read(text, self.zone)
        if not reading.later or self._ambiguous is Ambiguous.EARLIER:
            return reading.text
        if self._ambiguous is Ambiguous.LATER:
            return reading.later
        local, fraction = reading.local or (EPOCH, "")
        return f"{local.isoformat()}{fraction}"

    def _ambiguity(self, reading: WrittenTime, rules: str) -> InvalidRequest:
        return InvalidRequest(f"{ambiguity_message(reading, self.zone)}, or give --ambiguous {rules}")

    def _choose(self, reading: WrittenTime, later: bool) -> str:
        if later and reading.later:
            self.later += 1
            return reading.later
        self.earlier += 1
        return reading.text

    def _infer(self, reading: WrittenTime, series: str) -> str:
        """Choose the second of two times where the times of a series of rows go back or repeat."""
        local = reading.local
        assert local is not None  # noqa: S101 - for the type: the caller has checked it
        last = self._last_rows.get(series)
        if not reading.later:
            self._last_rows[series] = _LastRow(local, twice=False, second=False)
            return reading.text
        second = False
        if last and last.local >= local:
            if not last.twice or last.second:
                why = "the rows go back more than once"
                if not last.twice:
                    why = "the previous row of the same subject, type and source has a later time"
                raise InvalidRequest(f"{ambiguity_message(reading, self.zone)}; it cannot be inferred, because {why}")
            second = True
        elif last and last.second and local[0] - last.local[0] < timedelta(days=1):
            second = True
        self._last_rows[series] = _LastRow(local, twice=True, second=second)
        self.inferred_later = reading.later if second else None
        return self._choose(reading, second)


class _LastRow(NamedTuple):
    """The last row of a series: its local time, whether that occurs twice, and whether it is the second of the two."""

    local: tuple[datetime, str]
    twice: bool
    second: bool


def _read(text: str, zone: ZoneInfo) -> WrittenTime:
    try:
        return read_time(text, zone)
    except InvalidRequest:
        if not is_number(text):
            raise
    units = "if it counts from 1970-01-01T00:00:00Z, give --time-unit s, ms, us or ns"
    raise InvalidRequest(f"{text!r} is a number, not a time: {units}; otherwise {EXPECTED_TIME}")


@lru_cache(maxsize=65_536)
def _from_number(text: str, unit: TimeUnit) -> str:
    if not is_number(text):
        raise InvalidRequest(f"{text!r} is not a number, but with --time-unit {unit} every time must be one")
    nanos = int((Decimal(text) * _UNIT_NANOS[unit]).to_integral_value(ROUND_FLOOR))
    try:
        moment = EPOCH + timedelta(seconds=nanos // _NANOS)
    except OverflowError:
        raise InvalidRequest(
            f"{text!r} is not within the years 0001 to 9999 as a number of --time-unit {unit}"
        ) from None
    fraction = f".{nanos % _NANOS:09d}".rstrip("0").rstrip(".")
    return f"{moment.replace(tzinfo=None).isoformat()}{fraction}Z"


@lru_cache(maxsize=65_536)
def utc_text(text: str) -> str:
    """Return an RFC 3339 time in UTC without its suffix, so that two texts of one instant become equal."""
    if text.endswith(("Z", "+00:00")):
        return text.removesuffix("Z").removesuffix("+00:00")
    try:
        return Instant(parse_instant(text).nanos).text.removesuffix("Z")
    except ValueError:
        return text  # the year is out of range: the server says so
