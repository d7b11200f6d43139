"""Columns of a table, and what the text of a cell becomes in JSON.

A cell of a CSV file is what stands in the file. ClickHouse reads a JSON number as a double and prints that, so a cell
becomes a JSON number only where the same text is printed again; every other cell is a JSON string, whose digits meters
read exactly.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import orjson

from engine.errors import InvalidEvent, InvalidRequest

_NUMBER = re.compile(r"(?!-0\Z)-?(?P<integer>0|[1-9]\d*)(?:\.(?P<fraction>\d*[1-9]))?\Z", re.ASCII)
_EXACT_DIGITS = 15  # every decimal of so many significant digits survives a double
_MAX_PLAIN_ZEROS = 2  # ClickHouse prints 0.001 as it is, and 0.0001 as 1e-04
NOT_UTF8 = "a text is not UTF-8"
Literals = Callable[[str], str | None]
Cells = Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a file.

    literal: turns a cell's text into JSON, or None where the key is to be left out; None: it holds what JSON cannot.
    unsuitable: what it holds, if that can be no attribute of an event; None: its cells are texts.
    """

    name: str
    literal: Literals | None
    unsuitable: str | None = None


def csv_columns(header: Sequence[str]) -> list[Column]:
    """Return the columns a line of CSV names. Blanks around a name are not part of it."""
    return [Column(name.strip(), guessed_literal) for name in header]


def check_names(names: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if name in seen:
            which = f"{name!r}, columns {seen[name]} and {number}"
            raise InvalidRequest(f"two columns have the same name: {which}; name them apart")
        seen[name] = number


def check_json(text: str, name: str) -> str:
    """Return `text` if it is one JSON value, so that it cannot break out of where it is put. Raises: InvalidEvent."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidEvent(f"{name} is not JSON: {error}", "data") from None
    return text


@lru_cache(maxsize=65_536)
def json_string(text: str) -> str:
    """Return text as a JSON string."""
    try:
        return orjson.dumps(text).decode()
    except TypeError:
        raise InvalidEvent(NOT_UTF8) from None


def string_literal(text: str) -> str | None:
    """Return a cell as a JSON string; empty: None."""
    return json_string(text) if text else None


@lru_cache(maxsize=65_536)
def guessed_literal(text: str) -> str | None:
    """Return a cell of a CSV file as JSON: a number where ClickHouse prints it alike, else a string; empty: None."""
    match = _NUMBER.match(text)
    return text if match and _prints_same(match["integer"], match["fraction"] or "") else string_literal(text)


def _prints_same(integer: str, fraction: str) -> bool:
    if integer == "0" and len(fraction) - len(fraction.lstrip("0")) > _MAX_PLAIN_ZEROS:
        return False
    return len((integer + fraction).lstrip("0")) <= _EXACT_DIGITS


def number_literal(text: str) -> str | None:
    """Return a number of a typed column as JSON; not a number: None. Raises: InvalidEvent: it is infinite."""
    if text.endswith("nan"):
        return None
    if text.endswith("inf"):
        raise InvalidEvent("a number is infinite", "data")
    return text
