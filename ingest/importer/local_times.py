"""Converts times as people write them to RFC 3339: dates, local times, times with an offset, numbers with a unit.

Owns: what a local time means where the clock changes. A date alone means the instant at which its day begins, the same
instant as for a window of that day. A time that never occurs is refused. A time that occurs twice is refused too,
unless an `Ambiguous` rule says which one is meant.
Zones come from the tzdata package, like those of windows (docs/design.md R17a: one source of zones).
"""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from engine.errors import InvalidRequest
from engine.instants import EPOCH
from engine.usage import zones
from engine.usage.windows import local_date_start

_TIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](?P<clock>\d\d:\d\d)(?P<second>:\d\d)?(?P<fraction>\.\d+)? ?(?P<offset>[Zz]|[+-]\d\d:?\d\d)?)?\Z",
    re.ASCII,
)
_NUMBER = re.compile(r"[+-]?\d{1,40}(?:\.\d*)?(?:[eE][+-]?\d{1,3})?\Z", re.ASCII)
_NANOS = 1_000_000_000
_EXPECTED = "expected a time such as 2026-03-01T12:30:00 or 2026-03-01, or one with an offset"


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


class _Reading(NamedTuple):
    """What a text means. local: on the zone's clock; None if the text has an offset. later: None if it occurs once."""

    local: tuple[datetime, str] | None
    text: str
    later: str | None = None


def read_zone(name: str) -> ZoneInfo:
    """Return the time zone with an IANA name. Raises: InvalidRequest."""
    try:
        return zones.zone(name)
    except InvalidRequest:
        raise InvalidRequest(f"unknown time zone {name!r}: expected an IANA name such as America/New_York") from None


def timestamp(text: str, zone: ZoneInfo) -> str:
    """Return the RFC 3339 timestamp of a time written as `text`. A time without an offset is in `zone`.

    A date alone means the instant at which its day begins. All digits of the fraction are kept, except trailing zeros.
    Raises: InvalidRequest: it is not a time, or the zone's clock shows it twice or never.
    """
    reading = _parse(text, zone)
    if reading.later:
        raise InvalidRequest(_ambiguity_message(reading, zone))
    return reading.text


class LocalTimes:
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
        reading = _parse(text, self.zone)
        if self._ambiguous is Ambiguous.INFER and reading.local:
            return self._infer(reading, series)
        if not reading.later:
            return reading.text
        if self._ambiguous in (Ambiguous.ERROR, Ambiguous.INFER):
            raise InvalidRequest(
                f"{_ambiguity_message(reading, self.zone)}, or give --ambiguous earlier, later or infer"
            )
        return self._choose(reading, later=self._ambiguous is Ambiguous.LATER)

    def constant(self, text: str) -> str:
        """Return the time that all rows have. Raises: InvalidRequest: it is not a time, or it occurs twice."""
        rule = Ambiguous.ERROR if self._ambiguous is Ambiguous.INFER else self._ambiguous
        return LocalTimes(self.zone, self._unit, rule).timestamp(text)

    def as_data(self, text: str) -> str:
        """Return a time that is not the event's time. If it occurs twice, it stays as written, without an offset."""
        reading = _parse(text, self.zone)
        if not reading.later or self._ambiguous is Ambiguous.EARLIER:
            return reading.text
        if self._ambiguous is Ambiguous.LATER:
            return reading.later
        local, fraction = reading.local or (EPOCH, "")
        return f"{local.isoformat()}{fraction}"

    def _choose(self, reading: _Reading, later: bool) -> str:
        if later and reading.later:
            self.later += 1
            return reading.later
        self.earlier += 1
        return reading.text

    def _infer(self, reading: _Reading, series: str) -> str:
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
                why = "the row before it is later" if not last.twice else "the rows go back more than once"
                raise InvalidRequest(f"{_ambiguity_message(reading, self.zone)}; it cannot be inferred, because {why}")
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


def _ambiguity_message(reading: _Reading, zone: ZoneInfo) -> str:
    local = reading.local[0] if reading.local else ""
    earlier, later = reading.text[-6:], (reading.later or "")[-6:]
    return f"{local} occurs twice in {zone.key}, at {earlier} and at {later}: write it with its offset"


@lru_cache(maxsize=65_536)
def _parse(text: str, zone: ZoneInfo) -> _Reading:
    match = _TIME.match(text)
    if not match:
        if _NUMBER.match(text):
            units = "if it counts from 1970-01-01T00:00:00Z, give --time-unit s, ms, us or ns"
            raise InvalidRequest(f"{text!r} is a number, not a time: {units}; otherwise {_EXPECTED}")
        raise InvalidRequest(f"{text!r} is not a time: {_EXPECTED}")
    clock = f"{match['date']}T{match['clock'] or '00:00'}{match['second'] or ':00'}"
    fraction = (match["fraction"] or "").rstrip("0").rstrip(".")
    try:
        local = datetime.fromisoformat(clock)
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is not a time: {error}") from None
    if match["clock"] is None:
        return _Reading(None, _start_of_day(local.date(), zone))
    if match["offset"] is None:
        return _local_reading(local, fraction, zone)
    offset = match["offset"].upper()
    return _Reading(None, f"{clock}{fraction}{offset if len(offset) != 5 else f'{offset[:3]}:{offset[3:]}'}")


def _local_reading(local: datetime, fraction: str, zone: ZoneInfo) -> _Reading:
    if not _occurs(local, zone):
        raise InvalidRequest(f"{local} never occurs in {zone.key}: the clock skips it")
    first, second = local.replace(tzinfo=zone), local.replace(tzinfo=zone, fold=1)
    twice = first.utcoffset() != second.utcoffset()
    return _Reading((local, fraction), _rfc3339(first, fraction), _rfc3339(second, fraction) if twice else None)


def _occurs(local: datetime, zone: ZoneInfo) -> bool:
    try:
        return local.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local
    except OverflowError:
        raise InvalidRequest(f"{local} is not within the years 0001 to 9999 in UTC") from None


def _start_of_day(day: date, zone: ZoneInfo) -> str:
    """Return when a local date begins: at the first of two midnights, or at the end of a gap over midnight."""
    midnight = datetime(day.year, day.month, day.day)
    if _occurs(midnight, zone):
        return _rfc3339(midnight.replace(tzinfo=zone), "")
    begins = (EPOCH + timedelta(seconds=local_date_start(day, zone.key))).astimezone(zone)
    if begins.date() != day:
        raise InvalidRequest(f"{day} never occurs in {zone.key}: the calendar skips it")
    return _rfc3339(begins, "")


def _rfc3339(moment: datetime, fraction: str) -> str:
    offset = moment.utcoffset() or timedelta()
    if offset % timedelta(minutes=1):  # local mean time, from before zones were agreed on
        return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat()}{fraction}Z"
    return f"{moment.replace(tzinfo=None).isoformat()}{fraction}{moment.isoformat()[-6:]}"


@lru_cache(maxsize=65_536)
def _from_number(text: str, unit: TimeUnit) -> str:
    if not _NUMBER.match(text):
        raise InvalidRequest(f"{text!r} is not a number, but --time-unit {unit} says that times are")
    nanos = int((Decimal(text) * _UNIT_NANOS[unit]).to_integral_value(ROUND_FLOOR))
    try:
        moment = EPOCH + timedelta(seconds=nanos // _NANOS)
    except OverflowError:
        raise InvalidRequest(
            f"{text!r} is not within the years 0001 to 9999 as a number of --time-unit {unit}"
        ) from None
    fraction = f".{nanos % _NANOS:09d}".rstrip("0").rstrip(".")
    return f"{moment.replace(tzinfo=None).isoformat()}{fraction}Z"
