"""Windows of MINUTE, HOUR, DAY and MONTH in any time zone, as boundaries on the UTC axis.

Owns: a zone's clock changes, and from them where windows begin. They are computed here, from the tzdata package, and
handed to ClickHouse as numbers: its own zone data is a release's age (chDB 26.9 and tzdata 2026.6 differ in 20 of 598
zones), a package is updated on its own, and every store gives the same answer.
Windows are half-open and tile time: a DAY ends where the next local date begins, 23 to 25 hours later as a rule; an
HOUR is cut where clocks change by other than whole hours (Lord Howe Island).
All instants are Unix seconds. Source: docs/contract.md "Windows"; the fold in tests/harness/oracle.py agrees.
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

_LONG_BEFORE = -(10**10)


class WindowSize(StrEnum):
    """The sizes usage can be asked in."""

    MINUTE = "MINUTE"
    HOUR = "HOUR"
    DAY = "DAY"
    MONTH = "MONTH"


@dataclass(frozen=True, slots=True)
class StepFunction:
    """A step function of time: `values[i]` holds from `starts[i]` up to the next start. `starts[0]` is before all."""

    starts: tuple[int, ...]
    values: tuple[int, ...]

    def at(self, second: int) -> int:
        """Return the value that holds at a Unix second."""
        return self.values[bisect.bisect_right(self.starts, second) - 1]

    def between(self, first: int, last: int) -> "StepFunction":
        """Return the part that covers [first, last], the step before it included."""
        low = max(bisect.bisect_right(self.starts, first) - 1, 0)
        high = bisect.bisect_right(self.starts, last)
        return StepFunction(self.starts[low:high], self.values[low:high])


@functools.lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """Return an IANA zone from the tzdata package. Raises: InvalidRequest: there is none of that name."""
    if name not in _zone_names():
        raise InvalidRequest(f"invalid time zone: unknown time zone {name}")
    with resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


@functools.cache
def _zone_names() -> frozenset[str]:
    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


@functools.lru_cache(maxsize=1024)
def offsets(name: str) -> StepFunction:
    """Return a zone's offsets from UTC in seconds, with the instants they hold from."""
    info = zone(name)
    first = BEGINNING - 40 * DAY_SECONDS  # the month that holds the first instant begins before it
    starts, values = [_LONG_BEFORE], [_offset(first, info)]
    for second in range(first, END + 2 * DAY_SECONDS, DAY_SECONDS):
        offset = _offset(second + DAY_SECONDS, info)
        if offset != values[-1]:
            starts.append(_change(second, second + DAY_SECONDS, info))
            values.append(offset)
    return StepFunction(tuple(starts), tuple(values))


def _offset(second: int, info: ZoneInfo) -> int:
    at = datetime.fromtimestamp(second, info).utcoffset()
    return round(at.total_seconds()) if at else 0


def _change(before: int, after: int, info: ZoneInfo) -> int:
    """Return the first second with the offset that holds at `after`."""
    new = _offset(after, info)
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (before, middle) if _offset(middle, info) == new else (middle, after)
    return after


def hour_phases(name: str) -> StepFunction:
    """Return the seconds by which a zone's hours begin after UTC's, negated: hours start where (t + phase) % 3600 == 0.

    Clock changes of whole hours do not show: hours go on over them.
    """
    steps = offsets(name)
    starts, values = [steps.starts[0]], [steps.values[0] % 3600]
    for start, offset in zip(steps.starts[1:], steps.values[1:], strict=True):
        if offset % 3600 != values[-1]:
            starts.append(start)
            values.append(offset % 3600)
    return StepFunction(tuple(starts), tuple(values))


@functools.lru_cache(maxsize=64)  # each question needs them twice, and a page asks the same again and again
def boundaries(size: WindowSize, name: str, first: int, last: int) -> tuple[int, ...]:
    """Return where DAY or MONTH windows begin, from the one that holds `first` to the one that ends after `last`."""
    steps = offsets(name)
    day = _local_date(first, steps) - timedelta(days=2)
    if size is WindowSize.MONTH:
        day = day.replace(day=1)
    found: list[int] = []
    while not found or found[-1] <= last:
        begins = _date_begins(day, steps)
        if not found or begins > found[-1]:
            found.append(begins)
        day = _next(day, size)
    while len(found) > 1 and found[1] <= first:
        del found[0]
    return tuple(found)


def _next(day: date, size: WindowSize) -> date:
    if size is WindowSize.DAY:
        return day + timedelta(days=1)
    return day.replace(year=day.year + day.month // 12, month=day.month % 12 + 1)


def _local_date(second: int, steps: StepFunction) -> date:
    return (EPOCH + timedelta(seconds=second + steps.at(second))).date()


def date_begins(day: date, name: str) -> int:
    """Return the first second of a zone's local date or, where the zone skips it, of the next one."""
    return _date_begins(day, offsets(name))


def _date_begins(day: date, steps: StepFunction) -> int:
    """Return the first second whose local date is `day` or, where `day` is skipped, later."""
    midnight = (day - EPOCH.date()).days * DAY_SECONDS
    near = steps.between(midnight - 2 * DAY_SECONDS, midnight + 2 * DAY_SECONDS)
    ends: Sequence[int] = (*near.starts[1:], midnight + 3 * DAY_SECONDS)
    for start, end, offset in zip(near.starts, ends, near.values, strict=True):
        begins = max(midnight - offset, start)
        if begins < end:
            return begins
    raise AssertionError("a local midnight lies within three days of its UTC one")


def finest_step(size: WindowSize | None, name: str, first: int, last: int) -> int:
    """Return the coarsest of 86400, 900, 60 and 1 seconds that divides every window boundary within [first, last]."""
    if size is None:
        return DAY_SECONDS
    if size is WindowSize.MINUTE:
        return 60
    if size is WindowSize.HOUR:
        phases = hour_phases(name).between(first, last)
        marks = [3600, *phases.values, *phases.starts[1:]]
    else:
        marks = list(boundaries(size, name, first, last))
    return next(step for step in (DAY_SECONDS, 900, 60, 1) if all(mark % step == 0 for mark in marks))
