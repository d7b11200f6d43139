"""The usage that a list of events must give, computed a second time in plain Python.

Owns: the reference answer. Property tests and the crash harness compare all answers of Meterport with this module. It
therefore shares no code with the product: no SQL and no rollups, only a loop over the events in log order.
All values are exact: instants are integers, and values are decimals in a context that raises instead of rounding.
Limits: events are as ingest accepts them (valid RFC 3339 times; `data` is JSON or absent, without lone surrogates).
Clarity is more important than speed: a million events take half a minute.
Source: sections 1.4, 2.1, 2.2 and 4 of the contract, and section D, which has priority; JSON text as ClickHouse 26.9
writes it (tests/test_oracle.py compares the two); time zones from the tzdata package, never from the system.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow, localcontext
from functools import cache, lru_cache
from importlib.resources import files
from itertools import pairwise
from math import isinf
from zoneinfo import ZoneInfo

INTEGER_DIGITS = 38
FRACTION_DIGITS = 19
NANOSECONDS = 1_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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
        data = _document(event.data)
        if not all(_text(data, meter.group_by[name]) in allowed for name, allowed in query.filters.items() if allowed):
            continue
        group = _Group(
            window=window_bounds(at_ms, query.window_size, query.zone) if query.window_size else None,
            subject=event.subject if by_subject else None,
            dimensions=tuple(_text(data, meter.group_by[name]) for name in names),
        )
        yield group, _Sample(at_ms, _text(data, meter.value_property) if meter.value_property else "")


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


# --- data to text -----------------------------------------------------------------------------------------------------

_STEP = re.compile(
    r"""\s* (?: \.\s*(?P<name>[A-Za-z0-9_$]+)  |  \.\s*"(?P<quoted>[^"]+)"
            |   \[\s*'(?P<single>[^']*)'\s*\]  |  \[\s*"(?P<double>[^"]*)"\s*\]
            |   \[\s*(?P<every>\*)\s*\]        |  \[\s*(?P<first>[0-9]+)(?:\s+to\s+(?P<end>[0-9]+))?\s*\] ) \s*""",
    re.VERBOSE,
)


def extract(data: str | None, path: str) -> str:
    """Return the text of the first scalar at `path`, or "" if there is none.

    Source: JSON_VALUE of ClickHouse 26.9. Of duplicate keys the first counts.
    """
    return _text(_document(data), path)


_NOTHING = object()  # the data is absent, empty or invalid: unlike null, it has no text at any path


def _document(data: str | None) -> object:
    """Return the parsed JSON, with its numbers as text."""
    if not data:
        return _NOTHING
    try:
        return _DECODER.decode(data)
    except ValueError:
        return _NOTHING


def _first_wins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    return dict(reversed(pairs))


def _integer_text(literal: str) -> str:
    """Return the text of an integer literal: it keeps all digits, and only zero loses its sign."""
    return "0" if literal == "-0" else literal


def _double_text(literal: str) -> str:
    """Return the shortest text of the double nearest to a literal with a fraction or an exponent.

    Raises: ValueError: the literal is beyond the range of a double. Then the whole document is invalid.
    Source: C++ std::to_chars: the shorter of the two notations; if both are equally long, the plain one.
    """
    value = float(literal)
    if isinf(value):
        raise ValueError(literal)
    sign, magnitude = ("-" if literal.startswith("-") else ""), abs(value)
    plain, scientific = _plain(magnitude), _scientific(magnitude)
    return sign + (plain if len(plain) <= len(scientific) else scientific)


def _plain(magnitude: float) -> str:
    """Return the plain notation. A whole number has the exact digits of the double."""
    return str(int(magnitude)) if magnitude.is_integer() else format(Decimal(repr(magnitude)), "f")


def _scientific(magnitude: float) -> str:
    shortest = Decimal(repr(magnitude))
    digits = "".join(map(str, shortest.as_tuple().digits)).rstrip("0") or "0"
    mantissa = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
    return f"{mantissa}e{shortest.adjusted():+03d}"


def _refuse(literal: str) -> str:
    raise ValueError(literal)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_first_wins, parse_int=_integer_text, parse_float=_double_text, parse_constant=_refuse
)


def _text(document: object, path: str) -> str:
    for found in _nodes(document, _steps(path)):
        match found:
            case None:
                return "null"
            case bool():
                return "true" if found else "false"
            case str():
                return found
    return ""


def _nodes(node: object, steps: tuple[str | range, ...]) -> Iterator[object]:
    """Yield all nodes that the steps lead to, in document order."""
    if not steps:
        yield node
    elif isinstance(steps[0], str):
        if isinstance(node, dict) and steps[0] in node:
            yield from _nodes(node[steps[0]], steps[1:])
    elif isinstance(node, list):
        for index in steps[0]:
            if index < len(node):
                yield from _nodes(node[index], steps[1:])
            else:
                break


@lru_cache(maxsize=1024)
def _steps(path: str) -> tuple[str | range, ...]:
    """Return the path as keys and index ranges. Raises: ValueError: the path is not supported."""
    rest = path.strip()
    if not rest.startswith("$"):
        raise ValueError(path)
    steps: list[str | range] = []
    position = 1
    while position < len(rest):
        step = _STEP.match(rest, position)
        if step is None:
            raise ValueError(path)
        steps.append(_step(step))
        position = step.end()
    return tuple(steps)


def _step(step: re.Match[str]) -> str | range:
    if step["every"]:
        return range(1 << 62)
    if step["first"]:
        first = int(step["first"])
        return range(first, int(step["end"] or first + 1))  # "0 to 2" does not include 2
    return next(key for name in ("name", "quoted", "single", "double") if (key := step[name]) is not None)


# --- text to number ---------------------------------------------------------------------------------------------------

_NUMBER = re.compile(r"([+-]?)(?:([0-9]+)\.?([0-9]*)|\.([0-9]+))(?:[eE]([+-]?[0-9]+))?")


def number(text: str) -> Decimal | None:
    """Return the exact value of a text, or None if it is not a number or has more digits than a value may have."""
    literal = _NUMBER.fullmatch(text)
    if literal is None:
        return None
    sign, whole, fraction, bare_fraction, exponent = literal.groups(default="")
    fraction = fraction or bare_fraction
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return Decimal(0)
    significant = digits.rstrip("0")
    power = _exponent(exponent) - len(fraction) + len(digits) - len(significant)
    if power < -FRACTION_DIGITS or len(significant) + power > INTEGER_DIGITS:
        return None
    return Decimal(f"{sign}{significant}e{power}")


def _exponent(text: str) -> int:
    """Return the exponent. One of more than 18 digits becomes 10**18: no text is long enough to compensate for it."""
    digits = text.lstrip("+-").lstrip("0")
    size = int(digits or "0") if len(digits) <= 18 else 10**18
    return -size if text.startswith("-") else size


# --- time -------------------------------------------------------------------------------------------------------------

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


def instant(text: str) -> int:
    """Return the nanoseconds since the epoch of an RFC 3339 text. Digits finer than a nanosecond are ignored."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(text)
    year, month, day, hour, minute, second, fraction, sign, offset_hours, offset_minutes = match.groups(default="")
    days = date(int(year), int(month), int(day)).toordinal() - EPOCH.toordinal()
    offset = (int(offset_hours) * 60 + int(offset_minutes)) * 60 if sign else 0
    local = (days * 24 + int(hour)) * 3600 + int(minute) * 60 + int(second)
    seconds = local + offset if sign == "-" else local - offset
    return seconds * NANOSECONDS + int(fraction[:9].ljust(9, "0"))


def window_bounds(at_ms: int, size: str, zone: str) -> tuple[int, int]:
    """Return the window that contains `at_ms`, in epoch seconds [start, end).

    A MINUTE is a minute of UTC, and an HOUR an hour of the local clock. A DAY or MONTH lasts from the beginning of its
    first local date to the beginning of the next one's. Dates never go back: if a clock is set back over midnight, the
    repeated time belongs to the newer date.
    """
    at = at_ms // 1000
    match size:
        case "MINUTE":
            return at - at % 60, at - at % 60 + 60
        case "HOUR":
            return _hour(at, zone)
        case "DAY":
            day = _date_reached(at, zone)
            return _start_of_date(day, zone), _start_of_date(day + timedelta(days=1), zone)
        case "MONTH":
            first = _date_reached(at, zone).replace(day=1)
            return _start_of_date(first, zone), _start_of_date((first + timedelta(days=31)).replace(day=1), zone)
        case _:
            raise ValueError(size)


def _hour(at: int, zone: str) -> tuple[int, int]:
    """Return the hour of the local clock. It is cut where the clock changes by a part of an hour."""
    start = at - (at + _offset(at, zone)) % 3600
    end = start + 3600
    for change in _changes(start, end, zone):
        if (_offset(change, zone) - _offset(change - 1, zone)) % 3600 == 0:
            continue
        if change <= at:
            start = change
        else:
            return start, change
    return start, end


def _date_reached(at: int, zone: str) -> date:
    """Return the newest local date that has begun at an instant."""
    day = _local_date(at, zone)
    while _start_of_date(day + timedelta(days=1), zone) <= at:
        day += timedelta(days=1)
    return day


@lru_cache(maxsize=1 << 16)
def _start_of_date(day: date, zone: str) -> int:
    """Return the first instant whose local date is `day` or later: midnight, or the clock change that skips it."""
    midnight = (day.toordinal() - EPOCH.toordinal()) * 86400
    earliest, latest = midnight - 16 * 3600, midnight + 16 * 3600  # no zone is further from UTC
    changes = _changes(earliest, latest, zone)
    offsets = {_offset(at, zone) for at in (earliest, *changes)}
    candidates = [*changes, *(midnight - offset for offset in offsets)]
    return min(at for at in candidates if _local_date(at, zone) >= day)


@lru_cache(maxsize=1 << 16)
def _changes(after: int, until: int, zone: str) -> tuple[int, ...]:
    """Return the instants in (after, until] when the offset of the zone changes."""
    steps = [*range(after, until, 3600), until]
    return tuple(_change(low, high, zone) for low, high in pairwise(steps) if _offset(low, zone) != _offset(high, zone))


def _change(low: int, high: int, zone: str) -> int:
    """Return the one instant in (low, high] when the offset changes."""
    before = _offset(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle, zone) == before:
            low = middle
        else:
            high = middle
    return high


def _local_date(at: int, zone: str) -> date:
    return datetime.fromtimestamp(at, _zone(zone)).date()


def _offset(at: int, zone: str) -> int:
    """Return by how many seconds local clocks are ahead of UTC."""
    offset = datetime.fromtimestamp(at, _zone(zone)).utcoffset() or timedelta()
    return offset // timedelta(seconds=1)


@cache
def _zone(name: str) -> ZoneInfo:
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)
