"""Changes to a statement before it is sent: settings are appended, and long list parameters are split into chunks.

Owns: the places in a statement that may be changed. A statement contains texts from users, such as JSONPaths and event
types in literals, and these may look like any part of SQL. The statement is therefore read token by token, and
literals, quoted names and comments are never changed.
Source: docs/design.md R19b: text put into statements.
"""

import functools
import re
from collections.abc import Mapping

from engine.store import sql

# The largest bound list. A server accepts twice as many bytes in a field (http_max_field_value_size), after escaping.
_MAX_LIST_BYTES = 65_536
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
    """Return a statement and the parameters it binds, or None if it binds none. A long list is bound in chunks.

    Where a statement has no {name:Type}, clickhouse-connect formats the values into the text with Python's %. It must
    therefore never get a parameter that the statement does not name.
    """
    bound = {name: value for name, value in parameters.items() if f"{{{name}:" in statement}
    chunked = {name: chunks for name, value in bound.items() if len(chunks := _chunks(value)) > 1}
    if chunked:
        statement = _TOKEN.sub(lambda token: _concatenated(token, chunked), statement)
    for name, chunks in chunked.items():
        del bound[name]
        bound |= {f"{name}_{index}": chunk for index, chunk in enumerate(chunks)}
    return statement, bound or None


def with_settings(statement: str, settings: Mapping[str, str | float]) -> str:
    """Return a SELECT with settings appended, after any settings that the SELECT has itself."""
    if not settings:
        return statement
    separator = "," if _ends_in_settings(statement) else " SETTINGS"
    return f"{statement}{separator} {sql.settings(settings)}"


def _concatenated(token: re.Match[str], chunked: Mapping[str, list[object]]) -> str:
    """Return the token, or for the placeholder of a chunked list the expression that concatenates its chunks."""
    if token["name"] not in chunked:
        return token[0]
    terms = ", ".join(f"{{{token['name']}_{index}:{token['type']}}}" for index in range(len(chunked[token["name"]])))
    return f"arrayConcat({terms})"


def _chunks(value: object) -> list[object]:
    """Return a value as a list of chunks, each small enough for one field of a request. Only lists are split."""
    if not isinstance(value, list) or len(value) < 2 or len(str(value).encode()) <= _MAX_LIST_BYTES:
        return [value]
    middle = len(value) // 2
    return [*_chunks(value[:middle]), *_chunks(value[middle:])]


@functools.lru_cache(maxsize=128)  # a page sends the same queries again and again
def _ends_in_settings(statement: str) -> bool:
    """Return whether the statement itself has a SETTINGS clause; subqueries and literals do not count."""
    if "SETTINGS" not in statement:
        return False
    depth, found = 0, False
    for token in _TOKEN.finditer(statement):
        if token["bracket"]:
            depth += 1 if token[0] == "(" else -1
        elif token["settings"] and depth == 0:
            found = True
    return found
