"""The usage that a load must give: the same answers as the oracle's, but for millions of events and many queries.

Owns: an incremental fold by minute, subject, model and kind. It answers every query of the meters of
tests/harness/crash.py exactly: values are whole tenths, and a mean is rounded by integer division. It shares no code
with the product; the window bounds come from the oracle. tests/chaos/test_fold.py compares this fold with the oracle.
Limits: queries are by window, subject and the meter's group-by, without bounds or filters.
"""

from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache

from tests.chaos.load import KINDS, Numbers
from tests.harness import oracle, oracle_time

_CellKey = tuple[int, int, int, int]  # minute since the epoch, subject, model, kind
_Group = tuple[tuple[int, int] | None, str | None, tuple[str, ...]]


@dataclass(slots=True)
class _Cell:
    """The aggregates of a set of events."""

    first_minute: int
    last_minute: int
    count: int = 0
    usable: int = 0
    total: int = 0  # in tenths, like the following values
    smallest: int = 0
    largest: int = 0
    latest_ms: int = -1
    latest: int = 0
    models: int = 0  # one bit per model

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
    """Answers queries about the events that a load has sent so far."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._cells: dict[_CellKey, _Cell] = {}
        self._folded = 0
        self._groups: dict[tuple[str | None, str, tuple[str, ...]], dict[_Group, _Cell]] = {}  # of all folded events

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
        for key, cell in self._cells.items():
            group = _group(key, query, names)
            found = groups.get(group)
            if found is None:
                found = groups[group] = _Cell(cell.first_minute, cell.last_minute)
            found.join(cell)
        return dict(sorted(groups.items(), key=lambda item: (item[0][0] or (0, 0), item[0][1] or "", item[0][2])))

    def _fold(self) -> None:
        numbers, cells = self._numbers, self._cells
        if self._folded < len(numbers):
            self._groups.clear()
        for index in range(self._folded, len(numbers)):
            at_ms, model = numbers.at_ms[index], numbers.model[index]
            minute = at_ms // 60_000
            key = (minute, numbers.subject[index], model, numbers.kind[index])
            cell = cells.get(key)
            if cell is None:
                cell = cells[key] = _Cell(minute, minute)
            cell.add(at_ms, model, numbers.tenths(index))
            self._folded = index + 1


def _group(key: _CellKey, query: oracle.Query, names: tuple[str, ...]) -> _Group:
    minute, subject, model, kind = key
    texts = {"model": f"m{model}", "kind": KINDS[kind]}
    window = _window(minute, query.window_size, query.zone) if query.window_size else None
    return window, f"u{subject}" if "subject" in query.group_by else None, tuple(texts[name] for name in names)


@lru_cache(maxsize=1 << 18)
def _window(minute: int, size: str, zone: str) -> tuple[int, int]:
    return oracle_time.window_bounds(minute * 60_000, size, zone)


def _row(group: _Group, cell: _Cell, meter: oracle.Meter, names: tuple[str, ...]) -> oracle.Row | None:
    value = _value(cell, meter)
    if value is None:
        return None
    window, subject, dimensions = group
    start, end = window or (cell.first_minute * 60, cell.last_minute * 60 + 60)
    return oracle.Row(
        start * oracle_time.NANOSECONDS,
        end * oracle_time.NANOSECONDS,
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
            return _scaled((-1 if cell.total < 0 else 1) * (abs(cell.total) * 10**18 // cell.usable), 19)
    tenths = {"SUM": cell.total, "MIN": cell.smallest, "MAX": cell.largest, "LATEST": cell.latest}
    return _scaled(tenths[meter.aggregation], 1)


def _scaled(digits: int, places: int) -> Decimal:
    with localcontext(oracle.EXACT):
        return Decimal(digits).scaleb(-places)
