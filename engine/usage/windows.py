"""DAY and MONTH boundaries in Unix seconds in any time zone, and the largest common step of all boundaries of a range.

Owns: the sizes of windows, the boundaries of DAY and MONTH windows, and where a local date begins. They are computed
here and ClickHouse gets them as numbers. MINUTE and HOUR windows need no list of boundaries: engine/usage/timeline.py
has their expressions. Windows are half-open and cover time without gaps. A DAY ends where the next local date begins,
usually after 23 to 25 hours.
All instants are Unix seconds. Source: docs/contract.md "Windows". tests/harness/oracle_time.py computes the same
windows independently.
"""

import functools
from collections.abc import Sequence
from datetime import date, timedelta
from enum import StrEnum

from engine.instants import DAY_SECONDS, EPOCH
from engine.usage.zones import StepFunction, hour_phases, offsets


class WindowSize(StrEnum):
    """The window sizes that a usage query may have."""

    MINUTE = "MINUTE"
    HOUR = "HOUR"
    DAY = "DAY"
    MONTH = "MONTH"


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


def largest_common_step(size: WindowSize | None, name: str, first: int, last: int) -> int:
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
