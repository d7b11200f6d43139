"""Window arithmetic as SQL expressions over Unix seconds, with the boundaries that engine/usage/windows.py computes.

Owns: the expressions for the start and the end of a window, for both as RFC 3339 text with the offset that the zone has
at that time, and the arrays that these expressions bind. If a zone's clocks do not change within the range, constants
replace the arrays.
"""

from engine.usage.windows import WindowSize, boundaries
from engine.usage.zones import StepFunction, hour_phases, offsets

_AFTER_ALL_WINDOWS = 10**10  # Unix seconds
_LOCAL_TIME_FORMAT = "%Y-%m-%dT%H:%i:%S"


class Timeline:
    """The windows of one size in one zone over [first, last] in Unix seconds. Size None is a single window.

    `parameters` are the values that the expressions bind. `start_text` and `end_text` are the expressions for both ends
    of a window as text; they read the window's start from a column `start`.
    """

    def __init__(self, size: WindowSize | None, zone: str, first: int, last: int) -> None:
        self.parameters: dict[str, object] = {}
        self._size = size
        if size in {WindowSize.DAY, WindowSize.MONTH}:
            bounds = boundaries(size, zone, first, last)
            self.parameters |= {"window_starts": list(bounds[:-1]), "window_ends": list(bounds[1:])}
            first, last = bounds[0], bounds[-1]
        margin = (first - 3600, last + 3600)
        self._phases = hour_phases(zone).between(*margin)
        # An offset in RFC 3339 has no seconds. A zone that had some (Monrovia until 1972) is written in UTC.
        steps = offsets(zone).between(*margin)
        self._offsets = StepFunction(steps.starts, tuple(0 if offset % 60 else offset for offset in steps.values))
        self.start_text = self._rfc3339("start")
        self.end_text = self._rfc3339(f"({self._window_end()})")

    def start(self, second: str) -> str:
        """Return the expression for the start of the window that contains `second`.

        Args: second: an Int64 expression for Unix seconds.
        """
        match self._size:
            case None:
                return "toInt64(0)"
            case WindowSize.MINUTE:
                return f"{second} - {second} % 60"
            case WindowSize.HOUR:
                floor = self._floor_to_hour(second)
                return (
                    floor
                    if self._uniform_hours
                    else f"greatest({self._step_start('phase', self._phases, second)}, {floor})"
                )
            case _:
                return f"roundDown({second}, {{window_starts:Array(Int64)}})"

    def _window_end(self) -> str:
        match self._size:
            case None:
                return "toInt64(0)"
            case WindowSize.MINUTE:
                return "start + 60"
            case WindowSize.HOUR:
                floor = f"{self._floor_to_hour('start')} + 3600"
                if self._uniform_hours:
                    return floor
                self.parameters["phase_ends"] = [*self._phases.starts[1:], _AFTER_ALL_WINDOWS]
                return f"least({self._lookup('phase', 'start', 'ends', 'Int64')}, {floor})"
            case _:
                return "transform(start, {window_starts:Array(Int64)}, {window_ends:Array(Int64)}, toInt64(0))"

    @property
    def _uniform_hours(self) -> bool:
        return len(self._phases.values) == 1

    def _floor_to_hour(self, second: str) -> str:
        return f"{second} - ({second} + {self._value('phase', self._phases, second)}) % 3600"

    def _rfc3339(self, second: str) -> str:
        if self._size is None:
            return "''"
        local = f"toDateTime64({second} + {self._value('offset', self._offsets, second)}, 0, 'UTC')"
        return f"concat(formatDateTime({local}, '{_LOCAL_TIME_FORMAT}'), {self._offset_suffix(second)})"

    def _offset_suffix(self, second: str) -> str:
        suffixes = [_offset_suffix(offset) for offset in self._offsets.values]
        if len(suffixes) == 1:
            return f"'{suffixes[0]}'"
        self.parameters["offset_suffixes"] = suffixes
        return self._lookup("offset", second, "suffixes", "String")

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


def _offset_suffix(offset: int) -> str:
    if offset == 0:
        return "Z"
    sign, minutes = ("-" if offset < 0 else "+"), abs(offset) // 60
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"
