"""Filters as clients write them: `{"$or": [{"$eq": "a"}, {"$like": "b%"}]}` of one text or time, and one SQL condition.

Owns: the operators, what is wrong with a filter, and its rendering. Operands reach SQL as bound parameters only, the
tested expression is one the caller made. Nesting is rendered as calls, `and(…, or(…))`: the engine's parser takes few
hundred levels of parentheses and any depth of these that the limit below lets in.
Limits: 200 operators in the filters of a request, which bounds their depth too; 2,048 characters a pattern, 4,096 in
all; 8,192 characters a text, 1,000 texts a list.
Source: docs/contract.md 2.3, D.11, D.24.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.errors import InvalidRequest
from engine.instants import BEGINNING, END, parse_instant

MAX_OPERATORS = 200
PATTERN_CHARACTERS = 2048
ALL_PATTERN_CHARACTERS = 4096
TEXT_CHARACTERS = 8192  # written as a parameter they fit into one field of a server's request, escaped too
MAX_TEXTS = 1000
_JUNCTIONS = {"$and": "and", "$or": "or"}

Operand = str | int | list[str]


class _Operator(NamedTuple):
    """How an operator reads its operand, the parameter's type, and its condition on `{0}` with the parameter `{1}`."""

    read: Callable[[object], Operand]
    type: str
    condition: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """One operator with its operand."""

    operator: _Operator
    operand: Operand


@dataclass(frozen=True, slots=True)
class Junction:
    """`and` or `or` of two parts or more."""

    function: str
    parts: tuple["Filter", ...]


Filter = Comparison | Junction
ANYTHING: Filter = Junction("and", ())  # true for every text


@dataclass(slots=True)
class Bindings:
    """Parameters of a statement under construction, by names nobody else uses."""

    prefix: str
    values: dict[str, object] = field(default_factory=dict)

    def add(self, type_: str, value: object) -> str:
        """Bind a value; returns the placeholder that stands for it."""
        name = f"{self.prefix}_{len(self.values)}"
        self.values[name] = value
        return f"{{{name}:{type_}}}"


@dataclass(slots=True)
class Allowance:
    """What the filters of one request may hold, all together. Each that is read takes of it."""

    operators: int = MAX_OPERATORS
    pattern_characters: int = ALL_PATTERN_CHARACTERS

    def take(self, name: str, operand: object) -> None:
        """Raises: InvalidRequest: it is used up."""
        self.operators -= 1
        if self.operators < 0:
            raise InvalidRequest(f"filter complexity exceeds {MAX_OPERATORS} operators")
        if name in _PATTERNS and isinstance(operand, str):
            self.pattern_characters -= len(operand)
        if self.pattern_characters < 0:
            raise InvalidRequest(f"filter complexity exceeds {ALL_PATTERN_CHARACTERS} characters of patterns")


def text_filter(body: object, allowance: Allowance, depth: int | None = None) -> Filter | None:
    """Return the filter of a text that a JSON body holds; None if it filters nothing.

    Args: depth: how many `$and` and `$or` may stand in each other; None: as many as operators may.
    Raises: InvalidRequest: "filter is invalid: …", "filter complexity exceeds …".
    """
    return _Reader(_TEXT_OPERATORS, allowance, depth).read(body, 0)


def time_filter(body: object, allowance: Allowance, depth: int | None = None) -> Filter | None:
    """Return the filter of a time, its operands in Unix milliseconds; otherwise as `text_filter`."""
    return _Reader(_TIME_OPERATORS, allowance, depth).read(body, 0)


def condition(filter_: Filter, column: str, bindings: Bindings) -> str:
    """Return a filter as SQL. Args: column: the expression it tests, of our own making."""
    if isinstance(filter_, Junction):
        parts = ", ".join(condition(part, column, bindings) for part in filter_.parts)
        return f"{filter_.function}({parts})" if parts else "true"
    return filter_.operator.condition.format(column, bindings.add(filter_.operator.type, filter_.operand))


class _Reader:
    """Reads one filter."""

    def __init__(self, operators: Mapping[str, _Operator], allowance: Allowance, depth: int | None) -> None:
        self._operators = operators
        self._allowance = allowance
        self._depth = MAX_OPERATORS if depth is None else depth

    def read(self, body: object, depth: int) -> Filter | None:
        if body is None:
            return None
        if not isinstance(body, dict):
            raise _invalid("must be an object")
        given = {name: operand for name, operand in body.items() if operand is not None}
        for name in given:
            if name not in self._operators and name not in _JUNCTIONS:
                raise _invalid(f"unknown operator {name}")
        if len(given) > 1:
            raise _invalid("multiple operators are set")
        if not given:
            return None
        ((name, operand),) = given.items()
        self._allowance.take(name, operand)
        if name in _JUNCTIONS:
            return self._junction(_JUNCTIONS[name], name, operand, depth + 1)
        operator = self._operators[name]
        try:
            return Comparison(operator, operator.read(operand))
        except ValueError as error:
            raise _invalid(f"{name} {error}") from None

    def _junction(self, function: str, name: str, operand: object, depth: int) -> Filter | None:
        if depth > self._depth:
            raise InvalidRequest("filter complexity exceeds maximum allowed depth")
        if not isinstance(operand, list):
            raise _invalid(f"{name} must be a list")
        parts: list[Filter] = []
        for item in operand:
            part = self.read(item, depth)
            if isinstance(part, Junction) and part.function == function:
                parts += part.parts
            elif part is not None:
                parts.append(part)
        if len(parts) > 1:
            return Junction(function, tuple(parts))
        return parts[0] if parts else None


def _invalid(reason: str) -> InvalidRequest:
    return InvalidRequest(f"filter is invalid: {reason}")


def _text(operand: object) -> str:
    if not isinstance(operand, str):
        raise ValueError("must be a text")  # noqa: TRY004 - every wrong operand is one kind of error
    if not operand:
        raise _invalid("format mismatch")
    return asked_text(operand)


def asked_text(text: str) -> str:
    """Return a text that stored ones are compared with. Raises: ValueError: it is too long to be asked for."""
    if len(text) > TEXT_CHARACTERS:
        raise ValueError(f"is longer than {TEXT_CHARACTERS} characters")
    return text


def _texts(operand: object) -> list[str]:
    if not isinstance(operand, list):
        raise ValueError("must be a list of texts")  # noqa: TRY004
    if len(operand) > MAX_TEXTS:
        raise ValueError(f"has more than {MAX_TEXTS} texts")
    return [_text(item) for item in operand]


def _pattern(operand: object) -> str:
    pattern = _text(operand)
    if len(pattern) > PATTERN_CHARACTERS:
        raise ValueError(f"is longer than {PATTERN_CHARACTERS} characters")
    if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
        raise ValueError("ends in an escape of nothing")
    return pattern


def _nanos(operand: object) -> int:
    if not isinstance(operand, str):
        raise ValueError("must be an RFC 3339 timestamp")  # noqa: TRY004
    if not operand:
        raise _invalid("format mismatch")
    return parse_instant(operand).nanos


def _milliseconds_before(operand: object) -> int:
    """Return the last whole millisecond not after a time: what is later than the one is later than the other."""
    return _kept(_nanos(operand) // 1_000_000)


def _milliseconds_from(operand: object) -> int:
    return _kept(-(-_nanos(operand) // 1_000_000))


def _kept(unix_ms: int) -> int:
    """Return the nearest instant that divides all events alike: what lies beyond is more than a column holds."""
    return min(max(unix_ms, BEGINNING * 1000 - 1), END * 1000)


_TEXT_OPERATORS: Mapping[str, _Operator] = {
    "$eq": _Operator(_text, "String", "{0} = {1}"),
    "$ne": _Operator(_text, "String", "{0} != {1}"),
    "$in": _Operator(_texts, "Array(String)", "has({1}, {0})"),
    "$nin": _Operator(_texts, "Array(String)", "NOT has({1}, {0})"),
    "$like": _Operator(_pattern, "String", "{0} LIKE {1}"),
    "$nlike": _Operator(_pattern, "String", "{0} NOT LIKE {1}"),
    "$ilike": _Operator(_pattern, "String", "lowerUTF8({0}) LIKE lowerUTF8({1})"),
    "$nilike": _Operator(_pattern, "String", "lowerUTF8({0}) NOT LIKE lowerUTF8({1})"),
    "$gt": _Operator(_text, "String", "{0} > {1}"),
    "$gte": _Operator(_text, "String", "{0} >= {1}"),
    "$lt": _Operator(_text, "String", "{0} < {1}"),
    "$lte": _Operator(_text, "String", "{0} <= {1}"),
}
_PATTERNS = frozenset({"$like", "$nlike", "$ilike", "$nilike"})
_TIME_OPERATORS: Mapping[str, _Operator] = {
    "$gt": _Operator(_milliseconds_before, "Int64", "{0} > fromUnixTimestamp64Milli({1}, 'UTC')"),
    "$gte": _Operator(_milliseconds_from, "Int64", "{0} >= fromUnixTimestamp64Milli({1}, 'UTC')"),
    "$lt": _Operator(_milliseconds_from, "Int64", "{0} < fromUnixTimestamp64Milli({1}, 'UTC')"),
    "$lte": _Operator(_milliseconds_before, "Int64", "{0} <= fromUnixTimestamp64Milli({1}, 'UTC')"),
}
