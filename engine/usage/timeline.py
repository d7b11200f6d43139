"""The windows of a query: the SQL expression of a window's start, and both ends of a window as RFC 3339 text.

Owns: these two. ClickHouse finds the start of a window as Unix seconds. The end and the texts are computed here:
ClickHouse takes longer to analyse the expressions for them than a short query takes to run. Only of MINUTE windows, of
which a month has 43,200, ClickHouse makes the texts. If a zone's clocks do not change within the range, constants
replace the arrays that the expressions bind.
Source: docs/design.md R17a (windows), R18 (rows).
"""

import functools
import itertools
from datetime import timedelta

from engine.instants import EPOCH
from engine.usage.windows import WindowSize, boundaries
from engine.usage.zones import StepFunction, hour_phases, offsets

_LOCAL_TIME_FORMAT = "%Y-%m-%dT%H:%i:%S"


class Timeline:
    """The windows of one size in one zone over [first, last] in Unix seconds. Size None is a single window.

    `parameters` are the values that the expressions bind.
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
        # An offset in RFC 3339 has no seconds. A zone that had some (Monrovia until 1972) is written in UTC.
        steps = offsets(zone).between(*margin)
        self._offsets = StepFunction(steps.starts, tuple(0 if offset % 60 else offset for offset in steps.values))

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
                start = self._step_start("phase", self._phases, second)
                return f"greatest({start}, {second} - ({second} + {self._value('phase', self._phases, second)}) % 3600)"
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
        """Return Unix seconds as RFC 3339 text with the offset that the zone has then."""
        offset = self._offsets.value_at(second)
        local = EPOCH + timedelta(seconds=second + offset)
        return f"{local:%Y-%m-%dT%H:%M:%S}{_offset_suffix(offset)}"

    def sql_text(self, second: str) -> str:
        """Return the SQL expression for Unix seconds as the same text. Args: second: an Int64 expression."""
        local = f"toDateTime64({second} + {self._value('offset', self._offsets, second)}, 0, 'UTC')"
        suffixes = [_offset_suffix(offset) for offset in self._offsets.values]
        suffix = f"'{suffixes[0]}'"
        if len(suffixes) > 1:
            self.parameters["offset_suffixes"] = suffixes
            suffix = self._lookup("offset", second, "suffixes", "String")
        return f"concat(formatDateTime({local}, '{_LOCAL_TIME_FORMAT}'), {suffix})"

    def _value(self, name: str, steps: StepFunction, second: str) -> str:
        if len(steps.values) == 1:
            return f"toInt64({steps.values[0]})"
        self._step_start(name, steps, second)
        self.parameters[f"{name}_values"] = list(steps.values)
        return self._lookup(name, second, "values", "Int64")

    def _step_start(self, name: str, steps: StepFunction, second: str) -> str:
        self.parameters[f"{name}_starts"] = list(steps.starts)
        return f"roundDown({second}, {{{name}_starts:Array(Int64)}})"

    def _lookup(self, name: str, second: str, array: str, type_: str) -> str:
        starts = f"{{{name}_starts:Array(Int64)}}"
        default = "''" if type_ == "String" else "toInt64(0)"
        return f"transform(roundDown({second}, {starts}), {starts}, {{{name}_{array}:Array({type_})}}, {default})"


@functools.cache
def _offset_suffix(offset: int) -> str:
    if offset == 0:
        return "Z"
    sign, minutes = ("-" if offset < 0 else "+"), abs(offset) // 60
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"
