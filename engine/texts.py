"""Texts from outside: how they are shown safely, and which of their characters are refused.

Owns: how they are shown on a terminal, in log lines, in messages, and in documents that a person reads. A subject, the
name of a model or of a file may contain control sequences for the terminal, invisible characters (so that two different
texts look alike), or bytes that are not UTF-8.
It also owns the rule that names contain no control characters. An escape code in a name would control the terminal of
the user who lists it; and no event has such a `type`, so a meter with one would count nothing. Texts that were stored
before this rule existed are still read.
Source: Unicode 16, Default_Ignorable_Code_Point and General_Category; ECMA-48 (C1 controls).
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping

_HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Controls, direction marks, lone surrogates, line separators.
_JOINERS = "\u200c\u200d"  # They are part of words and emoji, between characters that are not ASCII.
_VARIATIONS = "\ufe0e\ufe0f"  # They are part of emoji.
# Invisible characters of other categories: fillers, and marks without a shape.
_INVISIBLE = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2065\u2800\u3164\uffa0"
    + "".join(map(chr, [*range(0xFE00, 0xFE10), *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE1000)]))
)
_ODD_SPACE = re.compile(r"\A\s+|\s+\Z|[^\S ]+")
_PRINTABLE_ASCII = re.compile(r"[\x20-\x7e]*")


def printable(text: str) -> str:
    """Return a text as one line that is safe on every terminal: control characters are escaped, for example as \\x1b.

    Invisible characters are escaped too. A byte that was not UTF-8 (a lone surrogate in a file name of Python) is
    written as that byte, for example as \\xe9.
    """
    if _PRINTABLE_ASCII.fullmatch(text):
        return text
    return "".join(text[index] if _is_visible(text, index) else _escape(text[index]) for index in range(len(text)))


def printable_name(name: str) -> str:
    """Return a name, for example of a subject, like `printable`, but with white space that can mislead escaped.

    This is any white space at its ends, and any except plain spaces inside, because two different names could look
    alike.
    """
    return _ODD_SPACE.sub(lambda space: "".join(map(_escape, space[0])), printable(name))


def json_printable(document: str) -> str:
    """Return a JSON document with the same meaning but without control characters, except tabs and line breaks."""
    if _PRINTABLE_ASCII.fullmatch(document):
        return document
    return "".join(_json_character(document, index) for index in range(len(document)))


def lines_printable(text: str) -> str:
    """Return a text of several lines, each of them like `printable`."""
    return "\n".join(map(printable, text.split("\n")))


def truncate(text: str, characters: int = 256) -> str:
    """Return a text, or its beginning of so many characters with "…" after it, as a message quotes it."""
    return text if len(text) <= characters else f"{text[:characters]}…"


def is_utf8(text: str) -> bool:
    """Return whether a text can be encoded as UTF-8. It cannot if it has a lone surrogate, a byte that is not UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _is_visible(text: str, index: int) -> bool:
    """Return whether the character at an index is visible and no control character of a terminal."""
    character = text[index]
    before, after = text[index - 1 : index] if index else "", text[index + 1 : index + 2]
    if character in _JOINERS:
        return bool(before and after) and not before.isascii() and not after.isascii()
    if character in _VARIATIONS:
        return bool(before) and (unicodedata.category(before) in {"So", "Po", "Sm"} or after == "\u20e3")
    return character not in _INVISIBLE and unicodedata.category(character) not in _HARMFUL


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_character(document: str, index: int) -> str:
    """Return a character of a JSON document, escaped if it is not visible.

    The escape is always inside a JSON string, because a document has only ASCII characters outside its strings.
    """
    character = document[index]
    if character in "\n\r\t" or _is_visible(document, index):
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[unit : unit + 2].hex()}" for unit in range(0, len(units), 2))


CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


# Line breaks and tabs are allowed in prose.
_CONTROL_IN_PROSE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


PROBLEM = "holds a control character"


def control_problems(names: Mapping[str, str | None], prose: Mapping[str, str | None]) -> Iterator[str]:
    """Yield a line for each text that contains a control character. Texts of `prose` may have line breaks and tabs."""
    for texts, controls in ((names, CONTROL), (prose, _CONTROL_IN_PROSE)):
        for name, text in texts.items():
            if text and controls.search(text):
                yield f"{name}: {PROBLEM}"
