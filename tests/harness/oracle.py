"""The usage that a list of events must give, computed a second time in plain Python.

Owns: the reference answer. Property tests and the crash harness compare all answers of Meterport with this module. It
therefore shares no code with the product: no SQL and no rollups, only a loop over the events in log order. Its values
come from `oracle_values.py` and its windows from `oracle_time.py`, which share no code with the product either.
All values are exact: instants are integers, and values are decimals in a context that raises instead of rounding.
Limits: events are as ingest accepts them (valid RFC 3339 times; `data` is JSON or absent, without lone surrogates).
Clarity is more important than speed: a million events take half a minute.
Source: sections 1.4, 2.1, 2.2 and 4 of the contract, and section D, which has priority.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow, localcontext

from tests.harness.oracle_time import EPOCH, NANOSECONDS, instant, window_bounds
from tests.harness.oracle_values import FRACTION_DIGITS, number, parse_data, text_at

EXACT = Context(prec=200, traps=[Inexact, InvalidOperation, Overflow])


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it was produced. Lists of events are in log order."""

    id: str
    source: str
    type: str
    subject: str
    time: str  # RFC 3339, as sent
    data: str | None = None  # JSON text, as sent

    @property
    def at_ms(self) -> int:
        """Return the time in milliseconds since the epoch, rounded down."""
        return instant(self.time) // 1_000_000


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter: how the events of one type become usage."""

    slug: str
    event_type: str
    aggregation: str  # SUM COUNT AVG MIN MAX UNIQUE_COUNT LATEST
    value_property: str | None = None  # JSONPath
    group_by: Mapping[str, str] = field(default_factory=dict)  # name -> JSONPath
    event_from: datetime | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """A query of one meter. None and empty values mean that the parameter is absent."""

    from_: str | None = None  # RFC 3339, up to nine fraction digits
    to: str | None = None
    window_size: str | None = None  # MINUTE HOUR DAY MONTH
    zone: str = "UTC"
    subjects: Sequence[str] | None = None  # also groups by subject
    group_by: Sequence[str] = ()  # "subject" or names of the meter's group-by
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)  # name -> texts, one of which must match


@dataclass(frozen=True, slots=True)
class Row:
    """One row of an answer. Windows are half-open, in nanoseconds since the epoch."""

    window_start: int
    window_end: int
    subject: str | None
    group_by: tuple[tuple[str, str], ...]  # in the order of the query, without the subject
    value: Decimal


# --- events to rows ---------------------------------------------------------------------------------------------------


class Fold:
    """The reference answers for events that are added one by one and queried many times."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], Event] = {}

    def add(self, event: Event) -> None:
        self._first.setdefault((event.source, event.id), event)

    def events(self) -> list[Event]:
        return list(self._first.values())

    def usage(self, meter: Meter, query: Query) -> list[Row]:
        return _answer(self._first.values(), meter, query)


def usage(events: Iterable[Event], meter: Meter, query: Query) -> list[Row]:
    """Return the rows that `query` must answer, in order. `events` are in log order, with duplicates."""
    return _answer(deduplicate(events), meter, query)


def deduplicate(events: Iterable[Event]) -> list[Event]:
    """Return the first event of each (source, id), in log order."""
    fold = Fold()
    for event in events:
        fold.add(event)
    return fold.events()


@dataclass(frozen=True, slots=True)
class _Group:
    """The group that a row is the usage of. `order` is the sort key of the rows."""

    window: tuple[int, int] | None  # epoch seconds
    subject: str | None
    dimensions: tuple[str, ...]

    def order(self) -> tuple[int, str, tuple[str, ...]]:
        start = self.window[0] if self.window else 0
        return start, self.subject or "", self.dimensions


@dataclass(frozen=True, slots=True)
class _Sample:
    """The part of one event that its group needs. Samples are in log order."""

    at_ms: int
    text: str


def _answer(events: Iterable[Event], meter: Meter, query: Query) -> list[Row]:
    groups: dict[_Group, list[_Sample]] = {}
    for group, sample in _samples(events, meter, query):
        groups.setdefault(group, []).append(sample)
    if not groups and _answers_zero(meter, query):
        groups[_Group(None, None, ())] = []
    rows = (_row(group, groups[group], meter, query) for group in sorted(groups, key=_Group.order))
    return [row for row in rows if row is not None]


def _answers_zero(meter: Meter, query: Query) -> bool:
    ungrouped = not (query.window_size or query.group_by or query.subjects)
    return ungrouped and meter.aggregation in {"COUNT", "UNIQUE_COUNT"}


def _samples(events: Iterable[Event], meter: Meter, query: Query) -> Iterator[tuple[_Group, _Sample]]:
    lower, upper = _range(meter, query)
    by_subject = "subject" in query.group_by or bool(query.subjects)
    names = [name for name in query.group_by if name != "subject"]
    for event in events:
        if event.type != meter.event_type or (query.subjects and event.subject not in query.subjects):
            continue
        at_ms = event.at_ms
        if not lower <= at_ms * 1_000_000 < upper:
            continue
        data = parse_data(event.data)
        if not all(
            text_at(data, meter.group_by[name]) in allowed for name, allowed in query.filters.items() if allowed
        ):
            continue
        group = _Group(
            window=window_bounds(at_ms, query.window_size, query.zone) if query.window_size else None,
            subject=event.subject if by_subject else None,
            dimensions=tuple(text_at(data, meter.group_by[name]) for name in names),
        )
        yield group, _Sample(at_ms, text_at(data, meter.value_property) if meter.value_property else "")


def _range(meter: Meter, query: Query) -> tuple[float, float]:
    """Return the half-open range of event times in nanoseconds. A missing bound is infinite."""
    lower = [instant(query.from_)] if query.from_ else []
    if meter.event_from:
        lower.append((meter.event_from - EPOCH) // timedelta(microseconds=1) * 1_000)
    return max(lower, default=float("-inf")), instant(query.to) if query.to else float("inf")


def _row(group: _Group, samples: list[_Sample], meter: Meter, query: Query) -> Row | None:
    value = _value(meter.aggregation, samples)
    if value is None:
        return None
    start, end = group.window or _span(samples)
    unwindowed = group.window is None
    names = (name for name in query.group_by if name != "subject")
    return Row(
        window_start=instant(query.from_) if unwindowed and query.from_ else start * NANOSECONDS,
        window_end=instant(query.to) if unwindowed and query.to else end * NANOSECONDS,
        subject=group.subject,
        group_by=tuple(zip(names, group.dimensions, strict=True)),
        value=value,
    )


def _span(samples: list[_Sample]) -> tuple[int, int]:
    """Return the whole minutes around all samples, in epoch seconds. Without samples: the first minute of 1970."""
    times = [sample.at_ms for sample in samples] or [0]
    return window_bounds(min(times), "MINUTE", "UTC")[0], window_bounds(max(times), "MINUTE", "UTC")[1]


def _value(aggregation: str, samples: list[_Sample]) -> Decimal | None:
    """Return the value of a group, or None if it has none."""
    if aggregation == "COUNT":
        return Decimal(len(samples))
    if aggregation == "UNIQUE_COUNT":
        return Decimal(len({sample.text for sample in samples} - {"null"}))
    usable = [(sample.at_ms, value) for sample in samples if (value := number(sample.text)) is not None]
    return _of_numbers(aggregation, usable) if usable else None


def _of_numbers(aggregation: str, usable: list[tuple[int, Decimal]]) -> Decimal:
    """Return the aggregate of (milliseconds, value) pairs in log order. There must be at least one pair."""
    values = [value for _, value in usable]
    match aggregation:
        case "SUM":
            return _sum(values)
        case "AVG":
            return _mean(values)
        case "MIN":
            return min(values)
        case "MAX":
            return max(values)
        case "LATEST":
            latest = max(at_ms for at_ms, _ in usable)
            return [value for at_ms, value in usable if at_ms == latest][-1]
        case _:
            raise ValueError(aggregation)


def _sum(values: list[Decimal]) -> Decimal:
    with localcontext(EXACT):
        return sum(values, Decimal(0))


def _mean(values: list[Decimal]) -> Decimal:
    """Return the mean, rounded toward zero to 19 fraction digits, as `//` of decimals does."""
    with localcontext(EXACT):
        cut = (_sum(values).scaleb(FRACTION_DIGITS) // len(values)).scaleb(-FRACTION_DIGITS)
        return cut + 0  # no negative zero
