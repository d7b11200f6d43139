"""Filters of a text or a time as clients write them, `{"$or": [{"$eq": "a"}, {"$like": "b%"}]}`, and their SQL.

Owns: the operators, the messages about a wrong filter, and its rendering as an SQL condition. Operands reach SQL only
as bound parameters; the caller gives the expression that is tested. Nested filters are rendered as calls,
`and(…, or(…))`: ClickHouse's parser accepts at most a few hundred levels of parentheses, but calls at any depth that
the limit on operators allows.
Limits: 200 operators in all filters of a request, which also limits their depth; 2,048 characters in a pattern and
4,096 in all patterns; 8,192 characters in a string; 1,000 strings in a list.
Source: docs/contract.md 2.3, D.11, D.24.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.errors import InvalidRequest
from engine.instants import BEGINNING, END, parse_instant

MAX_OPERATORS = 200
MAX_PATTERN_CHARACTERS = 2048
MAX_ALL_PATTERN_CHARACTERS = 4096
MAX_TEXT_CHARACTERS = 8192  # Even escaped, so many characters fit into one field of a request to ClickHouse.
MAX_TEXTS = 1000
_JUNCTIONS = {"$and": "and", "$or": "or"}

Operand = str | int | list[str]


class _Operator(NamedTuple):
    """An operator: how it reads its operand, and its SQL.

    `type` is the ClickHouse type of the parameter. In `condition`, `{0}` is the tested expression and `{1}` the
    parameter.
    """

    read: Callable[[object], Operand]
    type: str
    condition: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison: an operator with its operand."""

    operator: _Operator
    operand: Operand


@dataclass(frozen=True, slots=True)
class Junction:
    """Filters joined by `and` or `or`: two or more, or none (`ANYTHING`)."""

    function: str
    parts: tuple["Filter", ...]


Filter = Comparison | Junction
ANYTHING: Filter = Junction("and", ())  # It is true for every text.


@dataclass(slots=True)
class Bindings:
    """Parameters of a statement that is being built. Their names begin with a prefix that nothing else uses."""

    prefix: str
    values: dict[str, object] = field(default_factory=dict)

    def add(self, type_: str, value: object) -> str:
        """Bind a value and return its placeholder."""
        name = f"{self.prefix}_{len(self.values)}"
        self.values[name] = value
        return f"{{{name}:{type_}}}"


@dataclass(slots=True)
class Allowance:
    """How many operators and pattern characters the filters of one request may still use."""

    operators: int = MAX_OPERATORS
    pattern_characters: int = MAX_ALL_PATTERN_CHARACTERS

    def take(self, name: str, operand: object) -> None:
        """Count an operator and the characters of its pattern. Raises: InvalidRequest: nothing is left."""
        self.operators -= 1
        if self.operators < 0:
            raise InvalidRequest(f"filter complexity exceeds {MAX_OPERATORS} operators")
        if name in _PATTERNS and isinstance(operand, str):
            self.pattern_characters -= len(operand)
        if self.pattern_characters < 0:
            raise InvalidRequest(f"filter complexity exceeds {MAX_ALL_PATTERN_CHARACTERS} characters of patterns")


def text_filter(body: object, allowance: Allowance, depth: int | None = None) -> Filter | None:
    """Return the filter of a text from a JSON body; None if it filters nothing.

    Args: depth: how deep `$and` and `$or` may be nested; None: only the number of operators limits it.
    Raises: InvalidRequest: "filter is invalid: …", "filter complexity exceeds …".
    """
    return _Reader(_TEXT_OPERATORS, allowance, depth).read(body, 0)


def time_filter(body: object, allowance: Allowance, depth: int | None = None) -> Filter | None:
    """Return the filter of a time, with operands in Unix milliseconds; otherwise like `text_filter`."""
    return _Reader(_TIME_OPERATORS, allowance, depth).read(body, 0)


def condition(filter_: Filter, column: str, bindings: Bindings) -> str:
    """Return a filter as an SQL condition. Args: column: the tested expression; it must not come from a user."""
    if isinstance(filter_, Junction):
        parts = ", ".join(condition(part, column, bindings) for part in filter_.parts)
        return f"{filter_.function}({parts})" if parts else "true"
    return filter_.operator.condition.format(column, bindings.add(filter_.operator.type, filter_.operand))


class _Reader:
    """Reads one filter from JSON."""

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
        raise ValueError("must be a string")  # noqa: TRY004 - every wrong operand is a ValueError
    if not operand:
        raise _invalid("format mismatch")
    return check_operand(operand)


def check_operand(text: str) -> str:
    """Return a text that stored texts will be compared with. Raises: ValueError: it is too long."""
    if len(text) > MAX_TEXT_CHARACTERS:
        raise ValueError(f"is longer than {MAX_TEXT_CHARACTERS} characters")
    return text


def _texts(operand: object) -> list[str]:
    if not isinstance(operand, list):
        raise ValueError("must be a list of strings")  # noqa: TRY004
    if len(operand) > MAX_TEXTS:
        raise ValueError(f"has more than {MAX_TEXTS} strings")
    return [_text(item) for item in operand]


def _pattern(operand: object) -> str:
    pattern = _text(operand)
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise ValueError(f"is longer than {MAX_PATTERN_CHARACTERS} characters")
    if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
        raise ValueError("ends with an unfinished escape")
    return pattern


def _nanos(operand: object) -> int:
    if not isinstance(operand, str):
        raise ValueError("must be an RFC 3339 timestamp")  # noqa: TRY004
    if not operand:
        raise _invalid("format mismatch")
    return parse_instant(operand).nanos


def _floor_ms(operand: object) -> int:
    """Return a time rounded down to milliseconds. For `$gt` and `$lte` this is equivalent: events have milliseconds."""
    return _clamp_ms(_nanos(operand) // 1_000_000)


def _ceil_ms(operand: object) -> int:
    """Return a time rounded up to milliseconds. For `$gte` and `$lt` this is equivalent: events have milliseconds."""
    return _clamp_ms(-(-_nanos(operand) // 1_000_000))


def _clamp_ms(unix_ms: int) -> int:
    """Return the nearest instant for which every comparison with an event's time has the same result.

    A time outside this range may not fit into the type of a column.
    """
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
    "$gt": _Operator(_floor_ms, "Int64", "{0} > fromUnixTimestamp64Milli({1}, 'UTC')"),
    "$gte": _Operator(_ceil_ms, "Int64", "{0} >= fromUnixTimestamp64Milli({1}, 'UTC')"),
    "$lt": _Operator(_ceil_ms, "Int64", "{0} < fromUnixTimestamp64Milli({1}, 'UTC')"),
    "$lte": _Operator(_floor_ms, "Int64", "{0} <= fromUnixTimestamp64Milli({1}, 'UTC')"),
}
