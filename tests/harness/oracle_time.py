"""The oracle's time: the instant that a text names, and the window around an instant in a time zone.

Limits: shares no code with the product. Instants are integers; windows are half-open.
Source: sections 4 and D of the contract; time zones from the tzdata package, never from the system.
"""

import re
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from itertools import pairwise
from zoneinfo import ZoneInfo

NANOSECONDS = 1_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


def instant(text: str) -> int:
    """Return the nanoseconds since the epoch of an RFC 3339 text. Digits finer than a nanosecond are ignored."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(text)
    year, month, day, hour, minute, second, fraction, sign, offset_hours, offset_minutes = match.groups(default="")
    days = date(int(year), int(month), int(day)).toordinal() - EPOCH.toordinal()
    offset = (int(offset_hours) * 60 + int(offset_minutes)) * 60 if sign else 0
    local = (days * 24 + int(hour)) * 3600 + int(minute) * 60 + int(second)
    seconds = local + offset if sign == "-" else local - offset
    return seconds * NANOSECONDS + int(fraction[:9].ljust(9, "0"))


def window_bounds(at_ms: int, size: str, zone: str) -> tuple[int, int]:
    """Return the window that contains `at_ms`, in epoch seconds [start, end).

    A MINUTE is a minute of UTC, and an HOUR an hour of the local clock. A DAY or MONTH lasts from the beginning of its
    first local date to the beginning of the next one's. Dates never go back: if a clock is set back over midnight, the
    repeated time belongs to the newer date.
    """
    at = at_ms // 1000
    match size:
        case "MINUTE":
            return at - at % 60, at - at % 60 + 60
        case "HOUR":
            return _hour(at, zone)
        case "DAY":
            day = _date_reached(at, zone)
            return _start_of_date(day, zone), _start_of_date(day + timedelta(days=1), zone)
        case "MONTH":
            first = _date_reached(at, zone).replace(day=1)
            return _start_of_date(first, zone), _start_of_date((first + timedelta(days=31)).replace(day=1), zone)
        case _:
            raise ValueError(size)


def _hour(at: int, zone: str) -> tuple[int, int]:
    """Return the hour of the local clock. It is cut where the clock changes by a part of an hour."""
    start = at - (at + _offset(at, zone)) % 3600
    end = start + 3600
    for change in _changes(start, end, zone):
        if (_offset(change, zone) - _offset(change - 1, zone)) % 3600 == 0:
            continue
        if change <= at:
            start = change
        else:
            return start, change
    return start, end


def _date_reached(at: int, zone: str) -> date:
    """Return the newest local date that has begun at an instant."""
    day = _local_date(at, zone)
    while _start_of_date(day + timedelta(days=1), zone) <= at:
        day += timedelta(days=1)
    return day


@lru_cache(maxsize=1 << 16)
def _start_of_date(day: date, zone: str) -> int:
    """Return the first instant whose local date is `day` or later: midnight, or the clock change that skips it."""
    midnight = (day.toordinal() - EPOCH.toordinal()) * 86400
    earliest, latest = midnight - 16 * 3600, midnight + 16 * 3600  # no zone is further from UTC
    changes = _changes(earliest, latest, zone)
    offsets = {_offset(at, zone) for at in (earliest, *changes)}
    candidates = [*changes, *(midnight - offset for offset in offsets)]
    return min(at for at in candidates if _local_date(at, zone) >= day)


@lru_cache(maxsize=1 << 16)
def _changes(after: int, until: int, zone: str) -> tuple[int, ...]:
    """Return the instants in (after, until] when the offset of the zone changes."""
    steps = [*range(after, until, 3600), until]
    return tuple(_change(low, high, zone) for low, high in pairwise(steps) if _offset(low, zone) != _offset(high, zone))


def _change(low: int, high: int, zone: str) -> int:
    """Return the one instant in (low, high] when the offset changes."""
    before = _offset(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle, zone) == before:
            low = middle
        else:
            high = middle
    return high


def _local_date(at: int, zone: str) -> date:
    return datetime.fromtimestamp(at, _zone(zone)).date()


def _offset(at: int, zone: str) -> int:
    """Return by how many seconds local clocks are ahead of UTC."""
    offset = datetime.fromtimestamp(at, _zone(zone)).utcoffset() or timedelta()
    return offset // timedelta(seconds=1)


@cache
def _zone(name: str) -> ZoneInfo:
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)
