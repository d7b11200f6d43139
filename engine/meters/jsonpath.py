"""JSONPaths into the data of events: which a meter may have, and how their text is read in bounded time.

Owns: limits on the elements of arrays a path names, and the expressions that read by it. ClickHouse tries each element
a path names, walks the array anew for each, and no time limit ends that: without a bound one event whose million
elements lack what is looked for would hold up all ingest for hours.
Limits: `PATH_ELEMENTS` elements, by indexes and by `[*]` together; `[*]` sees all of them in data of `WHOLE_BYTES`.
Source: docs/contract.md 2.1; docs/design.md R15a.
"""

import re
from typing import Literal

from engine.errors import InvalidMeter
from engine.store import sql

PATH_ELEMENTS = 1000  # 0.1 ms an event at most: each is tried, in an array that has one element too
WHOLE_BYTES = 2048
_QUOTED = r"""(['"`])(?:(?!\1)[^\\]|\\.)*\1"""
_PART = re.compile(rf"\[?\s*{_QUOTED}|\[(?P<inside>[^\]]*)\]", re.DOTALL)  # a name in quotes, or indexes
_PLAIN_NAME = re.compile(r"[\w$]+", re.ASCII)
_UNQUOTED = re.compile(r"\.(?P<name>[^.\[\]'\"`\\*?()]+)(?P<indexes>(?:\[[0-9, to]+\]|\[\*\])*)")
_INDEXES = re.compile(r"\s*([0-9]{1,9})(?:\s+to\s+([0-9]{1,9}))?\s*\Z", re.ASCII | re.IGNORECASE)


def check_indexes(path: str) -> None:
    """Refuse a JSONPath the engine takes whose indexes are more than it reads, or name too many elements to try.

    It keeps 32 bits of an index. Raises: InvalidMeter.
    """
    if _elements(path) > PATH_ELEMENTS:
        raise InvalidMeter(f"invalid JSONPath: {path}: its indexes name more than {PATH_ELEMENTS} elements")


def with_quotes(path: str) -> str | None:
    """Return a JSONPath with quotes around the names that need them; None: that is not what is wrong with it."""
    parts = [*_UNQUOTED.finditer(path)]
    if not parts or "$" + "".join(part[0] for part in parts) != path:
        return None
    names = [part["name"] if _PLAIN_NAME.fullmatch(part["name"]) else None for part in parts]
    steps = [f".{name}" if name else f"['{part['name']}']" for name, part in zip(names, parts, strict=True)]
    quoted = "$" + "".join(step + part["indexes"] for step, part in zip(steps, parts, strict=True))
    return quoted if quoted != path else None


def matches_many(path: str) -> bool:
    """Return whether a path can match several values of one event, of which a meter counts the first."""
    return any(_is_every(inside) or not inside.strip().isdigit() for inside in _insides(path))


def read_at(path: str, function: Literal["JSON_VALUE", "JSON_QUERY"] = "JSON_VALUE") -> str:
    """Return the expression that reads by a path in `data`: text, or a list of all it matches."""
    wildcards = sum(_is_every(inside) for inside in _insides(path))
    if not wildcards:
        return f"{function}(data, {sql.literal(path)})"
    most = max(1, int((PATH_ELEMENTS / _elements(path)) ** (1 / wildcards) + 1e-9))
    return sql.statement(
        "usage/at_wildcards",
        function=function,
        path=sql.literal(path),
        first_elements=sql.literal(_PART.sub(lambda found: _first(found, most), path)),
        whole_bytes=str(WHOLE_BYTES),
    )


def _first(part: re.Match[str], most: int) -> str:
    """Return a part of a path with the first elements of an array instead of every one."""
    return f"[0 to {most}]" if _is_every(part["inside"]) else part[0]


def _is_every(inside: str | None) -> bool:
    return inside is not None and inside.strip() == "*"


def _insides(path: str) -> list[str]:
    """Return what stands in the brackets of a path, where it is no name."""
    return [part["inside"] for part in _PART.finditer(path) if part["inside"] is not None]


def _elements(path: str) -> int:
    """Return how many elements the indexes of a path name; a range ends before its end.

    Raises: InvalidMeter: one is no number the engine reads.
    """
    elements = 1
    for inside in _insides(path):
        if _is_every(inside):
            continue
        spans = [_INDEXES.match(span) for span in inside.split(",")]
        if None in spans:
            raise InvalidMeter(f"invalid JSONPath: {path}: an index is a number of at most 9 digits")
        elements *= sum(int(span[2]) - int(span[1]) if span[2] else 1 for span in spans if span)
    return elements
