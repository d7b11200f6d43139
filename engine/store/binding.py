"""What is put into a statement before it is sent: settings behind it, and long lists in pieces.

Owns: the places in a statement where that may happen. A statement holds texts of users, as JSONPaths and event types in
literals, and these may look like any part of SQL; so a statement is read token by token, and what stands in a literal,
a quoted name or a comment is left as it is.
Source: docs/design.md R19.
"""

import functools
import re
from collections.abc import Mapping

from engine.store import sql

_LIST_BYTES = 65_536  # of a bound list: a server takes twice as many in a field (http_max_field_value_size), escaped
_TOKEN = re.compile(
    r"""
    (?P<quoted>'(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*` | --[^\n]* | /\*.*?\*/ )
    | \{(?P<name>\w+):(?P<type>[^{}]+)\}
    | (?P<bracket>[()])
    | (?P<settings>\bSETTINGS\b)
    """,
    re.VERBOSE | re.DOTALL,
)


def bind(statement: str, parameters: Mapping[str, object]) -> tuple[str, dict[str, object] | None]:
    """Return a statement and the parameters it binds, None if it binds none; a long list is bound in pieces.

    clickhouse-connect puts values into the text itself, by Python's %, where it finds no {name:Type}: never let it.
    """
    bound = {name: value for name, value in parameters.items() if f"{{{name}:" in statement}
    cut = {name: pieces for name, value in bound.items() if len(pieces := _pieces(value)) > 1}
    if cut:
        statement = _TOKEN.sub(lambda token: _in_pieces(token, cut), statement)
    for name, pieces in cut.items():
        del bound[name]
        bound |= {f"{name}_{at}": piece for at, piece in enumerate(pieces)}
    return statement, bound or None


def with_settings(statement: str, settings: Mapping[str, str | float]) -> str:
    """Return a SELECT with settings behind it, and behind those that it carries itself."""
    if not settings:
        return statement
    joint = "," if _ends_in_settings(statement) else " SETTINGS"
    return f"{statement}{joint} {sql.settings(settings)}"


def _in_pieces(token: re.Match[str], cut: Mapping[str, list[object]]) -> str:
    if token["name"] not in cut:
        return token[0]
    terms = ", ".join(f"{{{token['name']}_{at}:{token['type']}}}" for at in range(len(cut[token["name"]])))
    return f"arrayConcat({terms})"


def _pieces(value: object) -> list[object]:
    """Return a value, a list cut until each piece fits into one field of a request."""
    if not isinstance(value, list) or len(value) < 2 or len(str(value).encode()) <= _LIST_BYTES:
        return [value]
    middle = len(value) // 2
    return [*_pieces(value[:middle]), *_pieces(value[middle:])]


@functools.lru_cache(maxsize=128)  # a page asks the same again and again
def _ends_in_settings(statement: str) -> bool:
    """Return whether the statement itself, and no subquery or literal of it, carries settings."""
    if "SETTINGS" not in statement:
        return False
    depth, found = 0, False
    for token in _TOKEN.finditer(statement):
        if token["bracket"]:
            depth += 1 if token[0] == "(" else -1
        elif token["settings"] and depth == 0:
            found = True
    return found
