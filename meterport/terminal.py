"""The output of commands.

Owns: tables, JSON and CSV on stdout, and messages on stderr. In texts that come from elsewhere, control characters and
invisible characters are escaped, so that a terminal shows them and does not execute them.
"""

import logging
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

from engine.texts import json_printable, lines_printable, printable, printable_name

_UNLIMITED_WIDTH = 10_000  # columns, if the output is not a terminal, so that nothing is cut off


class OutputFormat(StrEnum):
    """How a listing is printed."""

    TABLE = "table"
    JSON = "json"


Format = Annotated[OutputFormat, typer.Option("--format", help="How to print it: a table, or the API's JSON.")]


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under a header. If the last column is `value`, it is aligned to the right."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in header:
        right = name == "value" and header[-1] == name
        table.add_column(Text(printable_name(name)), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(
            *(Text(printable_name(cell)) for cell in row)
        )  # Text, so that brackets in a subject are not markup
    console = Console()
    Console(width=None if console.is_terminal else _UNLIMITED_WIDTH).print(table)


def print_json(value: object) -> None:
    """Print a value as JSON, indented."""
    print_json_text(orjson.dumps(value, option=orjson.OPT_INDENT_2))


def print_json_text(document: bytes) -> None:
    """Print JSON. Control characters are escaped, which is the same JSON to a program."""
    typer.echo(json_printable(document.decode()))


def print_csv(document: bytes) -> None:
    """Print CSV: unchanged to a program or a file, with control characters escaped on a terminal."""
    is_terminal = sys.stdout.isatty()  # unlike rich, which also looks at FORCE_COLOR
    typer.echo(lines_printable(document.decode().replace("\r\n", "\n")) if is_terminal else document)


def silence_loggers() -> None:
    """Keep the lines of all loggers from stderr, also in commands that do not configure logging."""
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)


def say(line: str) -> None:
    """Print a message to stderr, on one line."""
    typer.echo(printable(line), err=True)
