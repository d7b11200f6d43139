"""Which usage must come out of a load: the oracle's answers, for millions of events and many questions.

Owns: an incremental fold by minute, subject, model and kind, from which every question about the meters of
tests/harness/crash.py is answered exactly: values are whole tenths, a mean is cut by integer division. Shares no line
with the engine; window bounds are the oracle's. tests/chaos/test_fold.py compares the two.
Limits: the questions are by window, subject and the meter's group-by, without bounds or filters.
"""

from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache

from tests.chaos.load import KINDS, Numbers
from tests.harness import oracle

_Place = tuple[int, int, int, int]  # minute since the epoch, subject, model, kind
_Group = tuple[tuple[int, int] | None, str | None, tuple[str, ...]]


@dataclass(slots=True)
class _Cell:
    """What a set of events comes to."""

    first_minute: int
    last_minute: int
    count: int = 0
    usable: int = 0
    total: int = 0  # tenths, as all that follow
    smallest: int = 0
    largest: int = 0
    latest_ms: int = -1
    latest: int = 0
    models: int = 0  # a bit each

    def add(self, at_ms: int, model: int, tenths: int | None) -> None:
        self.count += 1
        self.models |= 1 << model
        if tenths is None:
            return
        if not self.usable:
            self.smallest = self.largest = tenths
        self.usable += 1
        self.total += tenths
        self.smallest = min(self.smallest, tenths)
        self.largest = max(self.largest, tenths)
        if at_ms > self.latest_ms:
            self.latest_ms, self.latest = at_ms, tenths

    def join(self, other: "_Cell") -> None:
        self.first_minute = min(self.first_minute, other.first_minute)
        self.last_minute = max(self.last_minute, other.last_minute)
        self.count += other.count
        self.models |= other.models
        if not other.usable:
            return
        if not self.usable:
            self.smallest, self.largest = other.smallest, other.largest
        self.usable += other.usable
        self.total += other.total
        self.smallest = min(self.smallest, other.smallest)
        self.largest = max(self.largest, other.largest)
        if other.latest_ms > self.latest_ms:
            self.latest_ms, self.latest = other.latest_ms, other.latest


class Fold:
    """Answers questions about what a load has sent so far."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._cells: dict[_Place, _Cell] = {}
        self._folded = 0
        self._groups: dict[tuple[str | None, str, tuple[str, ...]], dict[_Group, _Cell]] = {}  # of all that is folded

    def usage(self, meter: oracle.Meter, query: oracle.Query) -> list[oracle.Row]:
        """Return the rows that `query` must answer, in their order."""
        self._fold()
        names = tuple(name for name in query.group_by if name != "subject")
        kind = (query.window_size, query.zone, tuple(query.group_by))
        if kind not in self._groups:
            self._groups[kind] = self._grouped(query, names)
        rows = (_row(group, cell, meter, names) for group, cell in self._groups[kind].items())
        return [row for row in rows if row is not None]

    def _grouped(self, query: oracle.Query, names: tuple[str, ...]) -> dict[_Group, _Cell]:
        groups: dict[_Group, _Cell] = {}
        for place, cell in self._cells.items():
            group = _group(place, query, names)
            found = groups.get(group)
            if found is None:
                found = groups[group] = _Cell(cell.first_minute, cell.last_minute)
            found.join(cell)
        return dict(sorted(groups.items(), key=lambda item: (item[0][0] or (0, 0), item[0][1] or "", item[0][2])))

    def _fold(self) -> None:
        numbers, cells = self._numbers, self._cells
        if self._folded < len(numbers):
            self._groups.clear()
        for at in range(self._folded, len(numbers)):
            at_ms, model = numbers.at_ms[at], numbers.model[at]
            minute = at_ms // 60_000
            place = (minute, numbers.subject[at], model, numbers.kind[at])
            cell = cells.get(place)
            if cell is None:
                cell = cells[place] = _Cell(minute, minute)
            cell.add(at_ms, model, numbers.tenths(at))
            self._folded = at + 1


def _group(place: _Place, query: oracle.Query, names: tuple[str, ...]) -> _Group:
    minute, subject, model, kind = place
    texts = {"model": f"m{model}", "kind": KINDS[kind]}
    window = _window(minute, query.window_size, query.zone) if query.window_size else None
    return window, f"u{subject}" if "subject" in query.group_by else None, tuple(texts[name] for name in names)


@lru_cache(maxsize=1 << 18)
def _window(minute: int, size: str, zone: str) -> tuple[int, int]:
    return oracle.window_bounds(minute * 60_000, size, zone)


def _row(group: _Group, cell: _Cell, meter: oracle.Meter, names: tuple[str, ...]) -> oracle.Row | None:
    value = _value(cell, meter)
    if value is None:
        return None
    window, subject, dimensions = group
    start, end = window or (cell.first_minute * 60, cell.last_minute * 60 + 60)
    return oracle.Row(
        start * oracle.NANOSECONDS,
        end * oracle.NANOSECONDS,
        subject,
        tuple(zip(names, dimensions, strict=True)),
        value,
    )


def _value(cell: _Cell, meter: oracle.Meter) -> Decimal | None:
    match meter.aggregation:
        case "COUNT":
            return Decimal(cell.count)
        case "UNIQUE_COUNT":
            return Decimal(cell.models.bit_count())
        case _ if not cell.usable:
            return None
        case "AVG":
            return _shifted((-1 if cell.total < 0 else 1) * (abs(cell.total) * 10**18 // cell.usable), 19)
    tenths = {"SUM": cell.total, "MIN": cell.smallest, "MAX": cell.largest, "LATEST": cell.latest}
    return _shifted(tenths[meter.aggregation], 1)


def _shifted(digits: int, places: int) -> Decimal:
    with localcontext(oracle.EXACT):
        return Decimal(digits).scaleb(-places)
