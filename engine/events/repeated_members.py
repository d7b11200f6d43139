"""Members that stand twice in a JSON object: parsers take one of them, and not all take the same.

Owns: how they are found without parsing twice. Parsers tell nobody what they passed over, but quotation marks count: an
object has at least those of its names and those within its values, and a name that stands twice adds two. A text that
holds one has it escaped, as `\\"` or `\\u0022`.
Source: RFC 8259, 4: names should be unique, and what a receiver does with others is not known; docs/contract.md D.19.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import orjson

_QUOTE = b'"'
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TOKENS = re.compile(rb"(?P<name>%b)[ \t\r\n]*+:|%b|[{}]" % (_TEXT, _TEXT), re.DOTALL)
_AS_A_CODE = b"\\u0022"
_AT_A_TIME, _BYTES_AT_A_TIME = 256, 65_536  # so few stay in the processor's cache


def has_doubled(value: bytes, members: Mapping[str, msgspec.Raw]) -> bool:
    """Whether a name may stand twice in a JSON object whose `members` are known; what is within them does not count.

    False is exact; true may also mean that a name holds an escaped quotation mark.
    """
    return value.count(_QUOTE) != 2 * len(members) + b"".join(members.values()).count(_QUOTE)


def doubled_members(value: bytes) -> list[str]:
    """Return the names that stand more than once in a JSON object; what is within its members does not count."""
    return [name for name, level in _doubled(value) if level == 1]


def doubled_anywhere(text: bytes, parsed: Any) -> str | None:
    """Return a name that stands twice in an object anywhere in a JSON text, None if none does.

    Args: parsed: what orjson reads from the text.
    """
    try:
        written = orjson.dumps(parsed)
    except orjson.JSONEncodeError:  # it reads what is nested deeper than it writes
        written = b""
    if _AS_A_CODE not in text and text.count(_QUOTE) == written.count(_QUOTE):
        return None
    return next((name for name, _ in _doubled(text)), None)


def _doubled(text: bytes) -> Iterator[tuple[str, int]]:
    """Yield each name that its object has already, and how many objects it stands in. Args: text: valid JSON."""
    objects: list[set[str]] = []
    for token in _TOKENS.finditer(text):
        if token[0] == b"{":
            objects.append(set())
        elif token[0] == b"}":
            objects.pop()
        elif token["name"] is not None:
            name = json.loads(token["name"].decode("utf-8", "replace"))
            if name in objects[-1]:
                yield name, len(objects)
            objects[-1].add(name)


def count_quotes(texts: Sequence[bytes]) -> int:
    """Return how many quotation marks are in texts."""
    parts = range(0, len(texts), _AT_A_TIME)
    return sum(quotes_in(b"".join(texts[start : start + _AT_A_TIME])) for start in parts)


def quotes_in(text: bytes) -> int:
    """Return how many quotation marks are in a text."""
    letters = np.frombuffer(text, np.uint8)
    parts = range(0, len(letters), _BYTES_AT_A_TIME)
    return sum(int(np.count_nonzero(letters[start : start + _BYTES_AT_A_TIME] == ord(_QUOTE))) for start in parts)
