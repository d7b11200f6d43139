"""The statements in sql/, and quoting: the only two ways to put text into them, apart from bound parameters.

Owns: reading and rendering of .sql files, and quoting of identifiers and of literals. Values of requests never come
here: ClickHouse binds them ({name:Type}). Literals are needed where ClickHouse cannot bind a value: in the definition
of a view, and in a SETTINGS clause.
"""

import functools
import re
from collections.abc import Mapping
from importlib import resources
from string import Template

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class _Statement(Template):
    """A template whose only placeholder is ${name}. A $ alone is part of a regular expression or a JSONPath."""

    pattern = r"\$\{(?P<braced>[a-z_0-9]+)\}|(?P<escaped>(?!))|(?P<named>(?!))|(?P<invalid>(?!))"  # type: ignore[assignment] # a string until the class is created


@functools.cache
def _template(name: str) -> _Statement:
    text = resources.files("sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")
    return _Statement("".join(line for line in text.splitlines(keepends=True) if not line.startswith("--")).strip())


def statement(name: str, **parts: str) -> str:
    """Return sql/<name>.sql with its ${placeholders} replaced.

    Args: parts: rendered SQL; its identifiers and literals were quoted by `identifier` and `literal`.
    Raises: KeyError: a placeholder has no part.
    """
    return _template(name).substitute(parts)


def identifier(name: str) -> str:
    """Quote the name of a table or column.

    Raises: ValueError: the name contains anything but ASCII letters, digits and underscores, or starts with a digit.
    """
    if not _NAME.match(name):
        raise ValueError(f"not an identifier: {name!r}")
    return f"`{name}`"


def literal(text: str) -> str:
    """Quote text as a ClickHouse string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0").replace("\n", "\\n")
    return f"'{escaped}'"


def settings(values: Mapping[str, str | float]) -> str:
    """Render a SETTINGS list: `a = 1, b = 'x'`."""
    return ", ".join(
        f"{name} = {literal(value) if isinstance(value, str) else value}" for name, value in values.items()
    )
