"""Windows of MINUTE, HOUR, DAY and MONTH in any time zone, as boundaries in Unix seconds.

Owns: the clock changes of a zone, and the window boundaries that follow from them. They are computed here from the
tzdata package, and ClickHouse gets them as numbers. Its own zone data is as old as its release (chDB 26.9 and tzdata
2026.6 differ in 20 of 598 zones), whereas a package can be updated on its own, and every store gives the same answer.
Windows are half-open and cover time without gaps. A DAY ends where the next local date begins, usually after 23 to 25
hours. An HOUR ends early where clocks change by anything but whole hours (Lord Howe Island).
All instants are Unix seconds. Source: docs/contract.md "Windows". tests/harness/oracle.py computes the same windows
independently.
"""

import bisect
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from importlib import resources
from zoneinfo import ZoneInfo

from engine.errors import InvalidRequest
from engine.instants import BEGINNING, DAY_SECONDS, END, EPOCH

_BEFORE_ALL_INSTANTS = -(10**10)


class WindowSize(StrEnum):
    """The window sizes that a usage query may have."""

    MINUTE = "MINUTE"
    HOUR = "HOUR"
    DAY = "DAY"
    MONTH = "MONTH"


@dataclass(frozen=True, slots=True)
class StepFunction:
    """A step function of time: `values[i]` is valid from `starts[i]` until the next start.

    `starts[0]` is before every instant that an event can have.
    """

    starts: tuple[int, ...]
    values: tuple[int, ...]

    def value_at(self, second: int) -> int:
        """Return the value that is valid at a Unix second."""
        return self.values[bisect.bisect_right(self.starts, second) - 1]

    def between(self, first: int, last: int) -> "StepFunction":
        """Return the steps that cover [first, last], including the one that is valid at `first`."""
        low = max(bisect.bisect_right(self.starts, first) - 1, 0)
        high = bisect.bisect_right(self.starts, last)
        return StepFunction(self.starts[low:high], self.values[low:high])


@functools.lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """Return an IANA time zone from the tzdata package. Raises: InvalidRequest: no zone has this name."""
    if name not in _zone_names():
        raise InvalidRequest(f"invalid time zone: unknown time zone {name}")
    with resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


@functools.cache
def _zone_names() -> frozenset[str]:
    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


@functools.lru_cache(maxsize=1024)
def offsets(name: str) -> StepFunction:
    """Return the offsets of a zone from UTC in seconds, as a function of time."""
    zone_info = zone(name)
    first = BEGINNING - 40 * DAY_SECONDS  # the month that contains the first instant begins earlier
    starts, values = [_BEFORE_ALL_INSTANTS], [_offset(first, zone_info)]
    for second in range(first, END + 2 * DAY_SECONDS, DAY_SECONDS):
        offset = _offset(second + DAY_SECONDS, zone_info)
        if offset != values[-1]:
            starts.append(_find_offset_change(second, second + DAY_SECONDS, zone_info))
            values.append(offset)
    return StepFunction(tuple(starts), tuple(values))


def _offset(second: int, zone_info: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(second, zone_info).utcoffset()
    return round(offset.total_seconds()) if offset else 0


def _find_offset_change(before: int, after: int, zone_info: ZoneInfo) -> int:
    """Return the first second with the offset that is valid at `after`. It lies in (before, after]."""
    new = _offset(after, zone_info)
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (before, middle) if _offset(middle, zone_info) == new else (middle, after)
    return after


def hour_phases(name: str) -> StepFunction:
    """Return the phase of a zone's hours in seconds, as a function of time.

    An hour of the zone starts where (t + phase) % 3600 == 0. The phase is the offset modulo 3600, so clock changes by
    whole hours do not change it.
    """
    steps = offsets(name)
    starts, values = [steps.starts[0]], [steps.values[0] % 3600]
    for start, offset in zip(steps.starts[1:], steps.values[1:], strict=True):
        if offset % 3600 != values[-1]:
            starts.append(start)
            values.append(offset % 3600)
    return StepFunction(tuple(starts), tuple(values))


@functools.lru_cache(maxsize=64)  # each query needs them twice, and a page repeats the same query often
def boundaries(size: WindowSize, name: str, first: int, last: int) -> tuple[int, ...]:
    """Return the boundaries of DAY or MONTH windows.

    The first is the start of the window that contains `first`, and the last is the first boundary after `last`.
    """
    steps = offsets(name)
    day = _local_date(first, steps) - timedelta(days=2)
    if size is WindowSize.MONTH:
        day = day.replace(day=1)
    starts: list[int] = []
    while not starts or starts[-1] <= last:
        start = _local_date_start(day, steps)
        if not starts or start > starts[-1]:
            starts.append(start)
        day = _next_date(day, size)
    while len(starts) > 1 and starts[1] <= first:
        del starts[0]
    return tuple(starts)


def _next_date(day: date, size: WindowSize) -> date:
    if size is WindowSize.DAY:
        return day + timedelta(days=1)
    return day.replace(year=day.year + day.month // 12, month=day.month % 12 + 1)


def _local_date(second: int, steps: StepFunction) -> date:
    return (EPOCH + timedelta(seconds=second + steps.value_at(second))).date()


def local_date_start(day: date, name: str) -> int:
    """Return the first second of a local date in a zone or, where the zone skips that date, of the next date."""
    return _local_date_start(day, offsets(name))


def _local_date_start(day: date, steps: StepFunction) -> int:
    """Return the first second whose local date is `day` or, where that date is skipped, a later date."""
    midnight = (day - EPOCH.date()).days * DAY_SECONDS
    nearby = steps.between(midnight - 2 * DAY_SECONDS, midnight + 2 * DAY_SECONDS)
    ends: Sequence[int] = (*nearby.starts[1:], midnight + 3 * DAY_SECONDS)
    for start, end, offset in zip(nearby.starts, ends, nearby.values, strict=True):
        date_start = max(midnight - offset, start)
        if date_start < end:
            return date_start
    raise AssertionError("a local midnight lies within three days of its UTC one")


def finest_step(size: WindowSize | None, name: str, first: int, last: int) -> int:
    """Return the largest of 86400, 900, 60 and 1 (seconds) that divides every window boundary within [first, last]."""
    if size is None:
        return DAY_SECONDS
    if size is WindowSize.MINUTE:
        return 60
    if size is WindowSize.HOUR:
        phases = hour_phases(name).between(first, last)
        bounds = [3600, *phases.values, *phases.starts[1:]]
    else:
        bounds = list(boundaries(size, name, first, last))
    return next(step for step in (DAY_SECONDS, 900, 60, 1) if all(bound % step == 0 for bound in bounds))
