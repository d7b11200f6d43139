"""Renders the SQL that reads a JSONPath in ClickHouse, and owns the limit on how many array elements a path names.

ClickHouse tries each element that a path names, walks through the array again for each of them, and no time limit stops
it. Without a limit, a single event with a million elements that lack the wanted value would delay all ingest for hours.
Limits: `MAX_PATH_ELEMENTS` elements, counting indexes and `[*]` together. In data shorter than `SHORT_DATA_BYTES`,
`[*]` reads all elements.
Source: docs/contract.md 2.1; docs/design.md R15a (bounded paths).
"""

import re
from typing import Literal

from engine.errors import InvalidMeter
from engine.store import sql

# ClickHouse tries each named element, even in an array with one element: this takes at most 0.1 ms for an event.
MAX_PATH_ELEMENTS = 1000
SHORT_DATA_BYTES = 2048
_QUOTED = r"""(['"`])(?:(?!\1)[^\\]|\\.)*\1"""
_BRACKET = re.compile(rf"\[?\s*{_QUOTED}|\[(?P<inside>[^\]]*)\]", re.DOTALL)  # a quoted name, or indexes
_PLAIN_NAME = re.compile(r"[\w$]+", re.ASCII)
_UNQUOTED = re.compile(r"\.(?P<name>[^.\[\]'\"`\\*?()]+)(?P<indexes>(?:\[[0-9, to]+\]|\[\*\])*)")
_INDEXES = re.compile(r"\s*([0-9]{1,9})(?:\s+to\s+([0-9]{1,9}))?\s*\Z", re.ASCII | re.IGNORECASE)


def check_indexes(path: str) -> None:
    """Check the indexes of a JSONPath that ClickHouse accepts: their size, and how many elements they name.

    ClickHouse accepts longer indexes, but keeps only 32 bits of them. Raises: InvalidMeter.
    """
    if _count_elements(path) > MAX_PATH_ELEMENTS:
        raise InvalidMeter(f"invalid JSONPath: {path}: its indexes name more than {MAX_PATH_ELEMENTS} elements")


def quote_names(path: str) -> str | None:
    """Return a JSONPath with quotes around the names that need them; None if quotes would not repair it."""
    parts = [*_UNQUOTED.finditer(path)]
    if not parts or "$" + "".join(match[0] for match in parts) != path:
        return None
    names = [match["name"] if _PLAIN_NAME.fullmatch(match["name"]) else None for match in parts]
    steps = [f".{name}" if name else f"['{match['name']}']" for name, match in zip(names, parts, strict=True)]
    quoted = "$" + "".join(step + match["indexes"] for step, match in zip(steps, parts, strict=True))
    return quoted if quoted != path else None


def matches_many(path: str) -> bool:
    """Return whether a path can match several values of one event. A meter counts the first of them."""
    return any(_is_wildcard(content) or not content.strip().isdigit() for content in _bracket_contents(path))


def json_expression(path: str, function: Literal["JSON_VALUE", "JSON_QUERY"] = "JSON_VALUE") -> str:
    """Return the SQL expression that reads a path in the column `data`.

    JSON_VALUE gives the text of the first match, JSON_QUERY a JSON array of all matches.
    """
    wildcard_count = sum(_is_wildcard(content) for content in _bracket_contents(path))
    if not wildcard_count:
        return f"{function}(data, {sql.literal(path)})"
    max_elements = max(1, int((MAX_PATH_ELEMENTS / _count_elements(path)) ** (1 / wildcard_count) + 1e-9))
    return sql.statement(
        "usage/at_wildcards",
        function=function,
        path=sql.literal(path),
        first_elements=sql.literal(_BRACKET.sub(lambda match: _bound_wildcard(match, max_elements), path)),
        whole_bytes=str(SHORT_DATA_BYTES),
    )


def _bound_wildcard(match: re.Match[str], max_elements: int) -> str:
    """Return a bracket of a path; `[*]` is replaced by the first `max_elements` elements."""
    return f"[0 to {max_elements}]" if _is_wildcard(match["inside"]) else match[0]


def _is_wildcard(content: str | None) -> bool:
    return content is not None and content.strip() == "*"


def _bracket_contents(path: str) -> list[str]:
    """Return the contents of the brackets of a path, without quoted names."""
    return [match["inside"] for match in _BRACKET.finditer(path) if match["inside"] is not None]


def _count_elements(path: str) -> int:
    """Return how many elements the indexes of a path name. A range `a to b` excludes b; `[*]` is not counted.

    Raises: InvalidMeter: an index is not a number that ClickHouse reads correctly.
    """
    count = 1
    for content in _bracket_contents(path):
        if _is_wildcard(content):
            continue
        spans = [_INDEXES.match(span) for span in content.split(",")]
        if None in spans:
            raise InvalidMeter(f"invalid JSONPath: {path}: an index must be a number of at most 9 digits")
        count *= sum(int(span[2]) - int(span[1]) if span[2] else 1 for span in spans if span)
    return count
