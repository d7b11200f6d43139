"""Window arithmetic as SQL expressions over Unix seconds, from boundaries computed in engine/usage/windows.py.

Owns: the expressions for a window's start, its end, and both as RFC 3339 text with the zone's offset then, and the
arrays these bind. Where a zone's clocks do not change within the range, constants take the arrays' place.
"""

from engine.usage.windows import StepFunction, WindowSize, boundaries, hour_phases, offsets

_FAR = 10**10  # seconds: after every window
_FORMAT = "%Y-%m-%dT%H:%i:%S"


class Timeline:
    """The windows of one size in one zone over [first, last], in seconds. Size None: one window, from 0.

    `parameters`: what the expressions bind. `start_text`, `end_text`: both ends of the window of a column `start`.
    """

    def __init__(self, size: WindowSize | None, zone: str, first: int, last: int) -> None:
        self.parameters: dict[str, object] = {}
        self._size = size
        if size in {WindowSize.DAY, WindowSize.MONTH}:
            marks = boundaries(size, zone, first, last)
            self.parameters |= {"window_starts": list(marks[:-1]), "window_ends": list(marks[1:])}
            first, last = marks[0], marks[-1]
        around = (first - 3600, last + 3600)
        self._phases = hour_phases(zone).between(*around)
        # RFC 3339 has no seconds in an offset: a zone that had some (Monrovia until 1972) is printed in UTC.
        steps = offsets(zone).between(*around)
        self._offsets = StepFunction(steps.starts, tuple(0 if offset % 60 else offset for offset in steps.values))
        self.start_text = self._text("start")
        self.end_text = self._text(f"({self._end()})")

    def start(self, second: str) -> str:
        """Return the expression for the start of the window that holds `second`, an Int64 expression."""
        match self._size:
            case None:
                return "toInt64(0)"
            case WindowSize.MINUTE:
                return f"{second} - {second} % 60"
            case WindowSize.HOUR:
                floor = self._hour_floor(second)
                return floor if self._even_hours else f"greatest({self._step('phase', self._phases, second)}, {floor})"
            case _:
                return f"roundDown({second}, {{window_starts:Array(Int64)}})"

    def _end(self) -> str:
        match self._size:
            case None:
                return "toInt64(0)"
            case WindowSize.MINUTE:
                return "start + 60"
            case WindowSize.HOUR:
                floor = f"{self._hour_floor('start')} + 3600"
                if self._even_hours:
                    return floor
                self.parameters["phase_ends"] = [*self._phases.starts[1:], _FAR]
                return f"least({self._look_up('phase', 'start', 'ends', 'Int64')}, {floor})"
            case _:
                return "transform(start, {window_starts:Array(Int64)}, {window_ends:Array(Int64)}, toInt64(0))"

    @property
    def _even_hours(self) -> bool:
        return len(self._phases.values) == 1

    def _hour_floor(self, second: str) -> str:
        return f"{second} - ({second} + {self._value('phase', self._phases, second)}) % 3600"

    def _text(self, second: str) -> str:
        if self._size is None:
            return "''"
        local = f"toDateTime64({second} + {self._value('offset', self._offsets, second)}, 0, 'UTC')"
        return f"concat(formatDateTime({local}, '{_FORMAT}'), {self._suffix(second)})"

    def _suffix(self, second: str) -> str:
        suffixes = [_suffix(offset) for offset in self._offsets.values]
        if len(suffixes) == 1:
            return f"'{suffixes[0]}'"
        self.parameters["offset_suffixes"] = suffixes
        return self._look_up("offset", second, "suffixes", "String")

    def _value(self, name: str, steps: StepFunction, second: str) -> str:
        if len(steps.values) == 1:
            return f"toInt64({steps.values[0]})"
        self._step(name, steps, second)
        self.parameters[f"{name}_values"] = list(steps.values)
        return self._look_up(name, second, "values", "Int64")

    def _step(self, name: str, steps: StepFunction, second: str) -> str:
        self.parameters[f"{name}_starts"] = list(steps.starts)
        return f"roundDown({second}, {{{name}_starts:Array(Int64)}})"

    def _look_up(self, name: str, second: str, what: str, kind: str) -> str:
        starts = f"{{{name}_starts:Array(Int64)}}"
        default = "''" if kind == "String" else "toInt64(0)"
        return f"transform(roundDown({second}, {starts}), {starts}, {{{name}_{what}:Array({kind})}}, {default})"


def _suffix(offset: int) -> str:
    if offset == 0:
        return "Z"
    sign, minutes = ("-" if offset < 0 else "+"), abs(offset) // 60
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"
