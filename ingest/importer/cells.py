"""What the text of a cell becomes in JSON.

A cell of a CSV file has the text that is in the file. ClickHouse reads a JSON number as a double and prints the double.
So a cell becomes a JSON number only if the same text is printed again. Every other cell becomes a JSON string, whose
digits meters read exactly.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

import orjson

from engine.errors import InvalidEvent

_NUMBER = re.compile(r"(?!-0\Z)-?(?P<integer>0|[1-9]\d*)(?:\.(?P<fraction>\d*[1-9]))?\Z", re.ASCII)
_EXACT_DIGITS = 15  # every decimal with at most this many significant digits survives a double
_MAX_PLAIN_ZEROS = 2  # ClickHouse prints 0.001 unchanged, but 0.0001 as 1e-04
NOT_UTF8 = "a text is not UTF-8"
Literals = Callable[[str], str | None]
Cells = Sequence[str | None]


def check_json(text: str, name: str) -> str:
    """Return `text` if it is exactly one JSON value, so that it is safe to insert into JSON. Raises: InvalidEvent."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidEvent(f"{name} is not JSON: {error}", "data") from None
    return text


@lru_cache(maxsize=65_536)
def json_string(text: str) -> str:
    """Return a text as a JSON string. Raises: InvalidEvent: it is not UTF-8."""
    try:
        return orjson.dumps(text).decode()
    except TypeError:
        raise InvalidEvent(NOT_UTF8) from None


def string_literal(text: str) -> str | None:
    """Return a cell as a JSON string; None if it is empty."""
    return json_string(text) if text else None


@lru_cache(maxsize=65_536)
def guessed_literal(text: str) -> str | None:
    """Return a CSV cell as JSON: a number if ClickHouse prints the same text, else a string; None if it is empty."""
    match = _NUMBER.match(text)
    return text if match and _prints_same(match["integer"], match["fraction"] or "") else string_literal(text)


def _prints_same(integer: str, fraction: str) -> bool:
    if integer == "0" and len(fraction) - len(fraction.lstrip("0")) > _MAX_PLAIN_ZEROS:
        return False
    return len((integer + fraction).lstrip("0")) <= _EXACT_DIGITS


def number_literal(text: str) -> str | None:
    """Return a number of a typed column as JSON; None if it is not a number. Raises: InvalidEvent: it is infinite."""
    if text.endswith("nan"):
        return None
    if text.endswith("inf"):
        raise InvalidEvent("a number is infinite", "data")
    return text
