"""Texts of others on a terminal, in the log and in documents that a person reads.

Owns: what is shown of texts that come from elsewhere. A subject, a model's name or a file's name may hold what a
terminal obeys, what nobody sees (so that two texts look alike), or bytes that are not UTF-8.
Source: Unicode 16, Default_Ignorable_Code_Point and General_Category; ECMA-48 (C1 controls).
"""

import re
import unicodedata

_HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls, direction marks, lone surrogates, separators of lines
_JOINERS = "\u200c\u200d"  # belong to words and emoji, between characters that are not ASCII
_VARIATIONS = "\ufe0e\ufe0f"  # belong to emoji
# Characters of other categories that show nothing: fillers and marks without a shape.
_INVISIBLE = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2065\u2800\u3164\uffa0"
    + "".join(map(chr, [*range(0xFE00, 0xFE10), *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE1000)]))
)
_ODD_SPACE = re.compile(r"\A\s+|\s+\Z|[^\S ]+")
_SEEN = re.compile(r"[\x20-\x7e]*")


def printable(text: str) -> str:
    """Return text on one line that every terminal shows and none obeys: what it would obey is escaped, as \\x1b.

    Characters without a shape are escaped too. A byte that was no UTF-8 (a lone surrogate of Python's file names) is
    written as that byte, as \\xe9.
    """
    if _SEEN.fullmatch(text):
        return text
    return "".join(text[at] if _is_seen(text, at) else _escape(text[at]) for at in range(len(text)))


def name_shown(name: str) -> str:
    """Return a name, of a subject say, as `printable` does, and the white space in it that makes it another name.

    White space at its ends is escaped, and within it any other than the plain space.
    """
    return _ODD_SPACE.sub(lambda space: "".join(map(_escape, space[0])), printable(name))


def json_printable(document: str) -> str:
    """Return a JSON document that means the same and holds nothing a terminal obeys but the ends of its lines."""
    if _SEEN.fullmatch(document):
        return document
    return "".join(_json_shown(document, at) for at in range(len(document)))


def lines_printable(text: str) -> str:
    """Return text of several lines, each as `printable` does."""
    return "\n".join(map(printable, text.split("\n")))


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8: one with a lone surrogate was made from bytes that are not."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _is_seen(text: str, at: int) -> bool:
    """Whether the character at a place is shown by a terminal, obeyed by none, and seen by a reader."""
    character = text[at]
    before, after = text[at - 1 : at] if at else "", text[at + 1 : at + 2]
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


def _json_shown(document: str, at: int) -> str:
    """Return a character of a JSON document; outside its texts none but ASCII can stand."""
    character = document[at]
    if character in "\n\r\t" or _is_seen(document, at):
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[unit : unit + 2].hex()}" for unit in range(0, len(units), 2))
