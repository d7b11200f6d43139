"""Time zones and their clock changes, as functions of time in Unix seconds.

Owns: the zones, a zone's offsets from UTC, and the phases of its hours. They come from the tzdata package. ClickHouse's
own zone data is as old as its release (chDB 26.9 and tzdata 2026.6 differ in 20 of 598 zones), whereas a package can be
updated on its own, and every store gives the same answer. An HOUR ends early where clocks change by anything but whole
hours (Lord Howe Island).
Limits: clock changes are known from just before the first to just after the last instant that an event can have.
Source: docs/contract.md "Windows"; docs/design.md R17a (one source of zones).
"""

import bisect
import functools
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from zoneinfo import ZoneInfo

from engine.errors import InvalidRequest
from engine.instants import BEGINNING, DAY_SECONDS, END

_BEFORE_ALL_INSTANTS = -(10**10)
_WEEK_SECONDS = 7 * DAY_SECONDS  # no zone changes its clocks and changes them back within a week


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

    def next_change(self, second: int) -> int | None:
        """Return the second from which another value is valid, after a Unix second; None if there is none."""
        later = bisect.bisect_right(self.starts, second)
        return self.starts[later] if later < len(self.starts) else None

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
    for week in range(first, END + 2 * DAY_SECONDS, _WEEK_SECONDS):
        if _offset(week + _WEEK_SECONDS, zone_info) == values[-1]:
            continue
        for second in range(week, week + _WEEK_SECONDS, DAY_SECONDS):
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
