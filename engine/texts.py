"""Texts of others on a terminal.

Owns: what is shown of texts that come from elsewhere: a file's name or content may hold what a terminal obeys, or
bytes that are not UTF-8.
"""

import unicodedata

_HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls, direction marks, lone surrogates, separators of lines
_JOINERS = {"\u200c", "\u200d"}  # belong to words and emoji


def printable(text: str) -> str:
    """Return text on one line that every terminal shows and none obeys: what it would obey is escaped, as \\x1b.

    A byte that was no UTF-8 (a lone surrogate of Python's file names) is written as that byte, as \\xe9.
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8: one with a lone surrogate was made from bytes that are not."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _escaped(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character) not in _HARMFUL:
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
