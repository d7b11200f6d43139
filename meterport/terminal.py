"""How answers look on a terminal.

Owns: tables and JSON on stdout, everything else on stderr. Texts of others are shown for what they are: what a terminal
obeys, or nobody sees, is escaped.
"""

import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated

import orjson
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.texts import json_printable, lines_printable, name_shown, printable

_WIDE = 10_000  # columns of output that is no terminal: nothing is ever cut off


class OutputFormat(StrEnum):
    """How a listing is printed."""

    TABLE = "table"
    JSON = "json"


Format = Annotated[OutputFormat, typer.Option("--format", help="How to print it: a table, or the API's JSON.")]


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under a header; a last column `value` holds numbers."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in header:
        right = name == "value" and header[-1] == name
        table.add_column(Text(name_shown(name)), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(name_shown(cell)) for cell in row))  # Text: brackets in a subject are no markup
    console = Console()
    Console(width=None if console.is_terminal else _WIDE).print(table)


def print_json(value: object) -> None:
    """Print a value as JSON, indented."""
    print_document(orjson.dumps(value, option=orjson.OPT_INDENT_2))


def print_document(document: bytes) -> None:
    """Print JSON; what a terminal would obey is escaped, which means the same to a program."""
    typer.echo(json_printable(document.decode()))


def print_csv(document: bytes) -> None:
    """Print CSV as it is for a program or a file; on a terminal what that would obey is escaped."""
    is_terminal = sys.stdout.isatty()  # whatever FORCE_COLOR says
    typer.echo(lines_printable(document.decode().replace("\r\n", "\n")) if is_terminal else document)


def say(line: str) -> None:
    """Print a line that is no answer."""
    typer.echo(printable(line), err=True)
