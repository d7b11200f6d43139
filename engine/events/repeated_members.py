"""The search for names that appear twice in a JSON object. Of two such members, different parsers keep different ones.

Owns: how such names are found without parsing every text a second time. A parser does not report the members that it
dropped, so quotation marks are counted. An object has at least the quotation marks of its names and those within its
values, and a repeated name adds two. A quotation mark in a string is escaped, as `\\"` or as `\\u0022`.
Source: RFC 8259, section 4: names should be unique, and the behaviour of a receiver is otherwise unpredictable;
docs/contract.md D.19.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import orjson

_QUOTE = b'"'
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TOKENS = re.compile(rb"(?P<name>%b)[ \t\r\n]*+:|%b|[{}]" % (_STRING, _STRING), re.DOTALL)
_ESCAPED_QUOTE = b"\\u0022"
_TEXTS_AT_A_TIME, _BYTES_AT_A_TIME = 256, 65_536  # small enough for the processor's cache


def may_repeat_names(value: bytes, members: Mapping[str, msgspec.Raw]) -> bool:
    """Return whether a name may appear twice in a JSON object with the given members. Nested objects do not count.

    False is exact. True may also mean that a name contains an escaped quotation mark.
    """
    return value.count(_QUOTE) != 2 * len(members) + b"".join(members.values()).count(_QUOTE)


def repeated_names(value: bytes) -> list[str]:
    """Return the names that appear more than once in a JSON object. Nested objects do not count."""
    return [name for name, level in _find_repeated(value) if level == 1]


def find_repeated_name(text: bytes, parsed: Any) -> str | None:
    """Return a name that appears twice in any object of a JSON text, or None if there is none.

    Args: parsed: the value that orjson parsed from the text.
    """
    try:
        written = orjson.dumps(parsed)
    except orjson.JSONEncodeError:  # orjson parses deeper nesting than it can write
        written = b""
    if _ESCAPED_QUOTE not in text and text.count(_QUOTE) == written.count(_QUOTE):
        return None
    return next((name for name, _ in _find_repeated(text)), None)


def _find_repeated(text: bytes) -> Iterator[tuple[str, int]]:
    """Yield each name that its object already has, with the nesting level of that object (1 is the outermost).

    Args: text: valid JSON.
    """
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
    """Return how many quotation marks the texts contain together."""
    parts = range(0, len(texts), _TEXTS_AT_A_TIME)
    return sum(quotes_in(b"".join(texts[start : start + _TEXTS_AT_A_TIME])) for start in parts)


def quotes_in(text: bytes) -> int:
    """Return how many quotation marks a text contains."""
    characters = np.frombuffer(text, np.uint8)
    parts = range(0, len(characters), _BYTES_AT_A_TIME)
    return sum(int(np.count_nonzero(characters[start : start + _BYTES_AT_A_TIME] == ord(_QUOTE))) for start in parts)
