"""The oracle's values: the text at a path of an event's data, and the number that a text is.

Limits: shares no code with the product. Numbers are decimals, and each keeps all its digits.
Source: JSON text as ClickHouse 26.9 writes it (tests/oracle compares the two); section D of the contract.
"""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from math import isinf

INTEGER_DIGITS = 38
FRACTION_DIGITS = 19

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
    return text_at(parse_data(data), path)


_NOTHING = object()  # the data is absent, empty or invalid: unlike null, it has no text at any path


def parse_data(data: str | None) -> object:
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


def text_at(document: object, path: str) -> str:
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
