"""Converts times as people write them to RFC 3339: dates, local times, and times with an offset.

Owns: what a local time means where the clock changes. A date alone means the instant at which its day begins, the same
instant as for a window of that day. A time that never occurs is refused. A time that occurs twice has two readings; the
command line refuses it, and an import chooses one (ingest/importer/row_times.py).
Zones come from the tzdata package, like those of windows (docs/design.md R17a: one source of zones).
"""

import re
from datetime import UTC, date, datetime, timedelta
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
EXPECTED_TIME = "expected a time such as 2026-03-01T12:30:00 or 2026-03-01, or one with an offset"


class WrittenTime(NamedTuple):
    """What a text means.

    `local`: the time on the zone's clock, and the digits of its fraction; None if the text is a date or has an offset.
    `text`: the time as RFC 3339, the earlier one if it occurs twice. `later`: the later one, or None.
    """

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
    reading = read_time(text, zone)
    if reading.later:
        raise InvalidRequest(ambiguity_message(reading, zone))
    return reading.text


def is_number(text: str) -> bool:
    """Return whether a text is a number, which may be a time in some unit since 1970-01-01T00:00:00Z."""
    return _NUMBER.match(text) is not None


def ambiguity_message(reading: WrittenTime, zone: ZoneInfo) -> str:
    """Return the message about a time that occurs twice, with both of its offsets."""
    local = reading.local[0] if reading.local else ""
    earlier, later = reading.text[-6:], (reading.later or "")[-6:]
    return f"{local} occurs twice in {zone.key}, at {earlier} and at {later}: write it with its offset"


@lru_cache(maxsize=65_536)
def read_time(text: str, zone: ZoneInfo) -> WrittenTime:
    """Return what a time means; without an offset, it is in `zone`. Raises: InvalidRequest: it is not a time."""
    match = _TIME.match(text)
    if not match:
        if is_number(text):
            raise InvalidRequest(f"{text!r} is a number, not a time: {EXPECTED_TIME}")
        raise InvalidRequest(f"{text!r} is not a time: {EXPECTED_TIME}")
    clock = f"{match['date']}T{match['clock'] or '00:00'}{match['second'] or ':00'}"
    fraction = (match["fraction"] or "").rstrip("0").rstrip(".")
    try:
        local = datetime.fromisoformat(clock)
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is not a time: {error}") from None
    if match["clock"] is None:
        return WrittenTime(None, _start_of_day(local.date(), zone))
    if match["offset"] is None:
        return _local_reading(local, fraction, zone)
    offset = match["offset"].upper()
    return WrittenTime(None, f"{clock}{fraction}{offset if len(offset) != 5 else f'{offset[:3]}:{offset[3:]}'}")


def _local_reading(local: datetime, fraction: str, zone: ZoneInfo) -> WrittenTime:
    if not _occurs(local, zone):
        raise InvalidRequest(f"{local} never occurs in {zone.key}: the clock skips it")
    first, second = local.replace(tzinfo=zone), local.replace(tzinfo=zone, fold=1)
    twice = first.utcoffset() != second.utcoffset()
    return WrittenTime((local, fraction), _rfc3339(first, fraction), _rfc3339(second, fraction) if twice else None)


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
