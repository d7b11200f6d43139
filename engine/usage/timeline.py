"""The windows of a query: the SQL expression of a window's start, and both ends of a window as RFC 3339 text.

Owns: these two. ClickHouse finds the start of a window as Unix seconds. The end and the texts are computed here:
ClickHouse takes longer to analyse the expressions for them than a short query takes to run. If a zone's clocks do not
change within the range, constants replace the arrays that the expression binds.
Source: docs/design.md R17a (windows), R18 (rows).
"""

import functools
import itertools
from datetime import timedelta

from engine.instants import DAY_SECONDS, EPOCH
from engine.usage.windows import WindowSize, boundaries
from engine.usage.zones import hour_phases, offsets


class Timeline:
    """The windows of one size in one zone over [first, last] in Unix seconds. Size None is a single window.

    `parameters` are the values that the expression of `start` binds.
    """

    def __init__(self, size: WindowSize | None, zone: str, first: int, last: int) -> None:
        self.parameters: dict[str, object] = {}
        self._size = size
        self._ends: dict[int, int] = {}
        if size in {WindowSize.DAY, WindowSize.MONTH}:
            bounds = boundaries(size, zone, first, last)
            self.parameters["window_starts"] = list(bounds[:-1])
            self._ends = dict(itertools.pairwise(bounds))
            first, last = bounds[0], bounds[-1]
        margin = (first - 3600, last + 3600)
        self._phases = hour_phases(zone).between(*margin)
        self._offsets = offsets(zone).between(*margin)

    def start(self, second: str) -> str:
        """Return the SQL expression for the start of the window that contains `second`.

        Args: second: an Int64 expression for Unix seconds.
        """
        match self._size:
            case None:
                return "toInt64(0)"
            case WindowSize.MINUTE:
                return f"{second} - {second} % 60"
            case WindowSize.HOUR if len(self._phases.values) == 1:
                return f"{second} - ({second} + {self._phases.values[0]}) % 3600"
            case WindowSize.HOUR:
                return f"greatest({self._phase_start(second)}, {second} - ({second} + {self._phase(second)}) % 3600)"
            case _:
                return f"roundDown({second}, {{window_starts:Array(Int64)}})"

    def end(self, start: int) -> int:
        """Return the end of the window that begins at `start`, both in Unix seconds."""
        match self._size:
            case WindowSize.MINUTE:
                return start + 60
            case WindowSize.HOUR:
                hour_end = start - (start + self._phases.value_at(start)) % 3600 + 3600
                return min(hour_end, self._phases.next_change(start) or hour_end)
            case _:
                return self._ends[start]

    def text(self, second: int) -> str:
        """Return Unix seconds as RFC 3339 text with the offset that the zone has then.

        RFC 3339 has no offset with seconds. Where a zone has one (Monrovia until 1972), the text is in UTC.
        """
        offset = self._offsets.value_at(second)
        if offset % 60:
            offset = 0
        days, rest = divmod(second + offset, DAY_SECONDS)
        return f"{_date_text(days)}T{_time_text(rest)}{_offset_text(offset)}"

    def _phase_start(self, second: str) -> str:
        self.parameters["phase_starts"] = list(self._phases.starts)
        return f"roundDown({second}, {{phase_starts:Array(Int64)}})"

    def _phase(self, second: str) -> str:
        self.parameters["phase_values"] = list(self._phases.values)
        start = self._phase_start(second)
        return f"transform({start}, {{phase_starts:Array(Int64)}}, {{phase_values:Array(Int64)}}, toInt64(0))"


@functools.lru_cache(maxsize=4096)
def _date_text(days: int) -> str:
    return (EPOCH + timedelta(days=days)).date().isoformat()


@functools.lru_cache(maxsize=DAY_SECONDS // 60)
def _time_text(second: int) -> str:
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


@functools.cache
def _offset_text(offset: int) -> str:
    if offset == 0:
        return "Z"
    sign, minutes = ("-" if offset < 0 else "+"), abs(offset) // 60
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"
