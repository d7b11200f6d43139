"""The command line: its commands, each loaded when it is asked for, and what becomes of errors.

Owns: the table of commands, and the exit statuses.
"""

import sys
import traceback
from collections.abc import Iterator, Mapping
from importlib import import_module
from types import TracebackType
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from engine import __version__
from engine.config.redaction import fit_to_show
from engine.errors import ConfigurationError, Fatal, MeterportError
from meterport.options import in_plain_words, require_utf8, use_plain_words

EX_CONFIG = 78
EX_SOFTWARE = 70

# name → module and member of meterport.commands, and what the list of commands says, which loads none of them
COMMANDS = {
    "serve": ("processes", "serve", "Serve the API and meter what comes in, in this one process."),
    "api": ("processes", "api", "Serve the API alone: events go to Kafka, answers come from a ClickHouse server."),
    "ingest": (
        "processes",
        "ingest",
        "Meter what is in the Kafka topic: move events into a ClickHouse server, exactly once.",
    ),
    "query": ("query", "query", "Print usage of a meter. Values are exact; a row is a window [start, end) of a group."),
    "import": (
        "import_",
        "import_command",
        "Import a file of events: NDJSON of CloudEvents, or CSV and Parquet.",
    ),
    "meters": ("meters", "meters", "Meters: what is counted."),
    "token": ("tokens", "token", "Portal tokens: one customer's way to its own usage."),
    "dead-letters": ("dead_letters", "dead_letters", "Dead letters: records that could not become an event."),
    "config": ("config", "settings", "Settings."),
}


class _Commands(Mapping[str, Any]):
    """The commands by name. One is imported when it is asked for: most need neither the store nor Kafka."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(name)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def _load(name: str) -> Any:
    module, member, _ = COMMANDS[name]
    found = getattr(import_module(f"meterport.commands.{module}"), member)
    if isinstance(found, typer.Typer):
        command: Any = typer.main.get_group(found)
    else:
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(name)(found)
        command = typer.main.get_command(alone)
    command.name = name
    require_utf8(command)
    use_plain_words(command)
    return command


class _Root(typer.core.TyperGroup):
    """The command `meterport`."""

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self.commands: Any = _Commands()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Say what is wrong in plain words."""
        parsed: list[str] = in_plain_words(super().parse_args)(ctx, args)
        return parsed

    def format_commands(self, _: Any, formatter: Any) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, _, summary) in COMMANDS.items()])


app = typer.Typer(
    name="meterport",
    help="Usage metering on ClickHouse: exact through any crash, answered in milliseconds.",
    cls=_Root,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: brackets and examples stay as they are written
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"meterport {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
]


@app.callback()
def _root(version: Version = False) -> None:
    """The options before any command."""


def _one_line(error: MeterportError) -> str:
    """Return what an error says; several problems, each of which has a line, on one."""
    return fit_to_show("; ".join(str(error).splitlines()))


def _show_trace(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the trace of a defect; a library's words in it may hold a secret or what a terminal obeys."""
    print(fit_to_show("".join(traceback.format_exception(kind, error, trace)).rstrip()), file=sys.stderr)  # noqa: T201


def run() -> None:
    """Run the command line; errors of ours are one line on stderr, without anything that a terminal obeys."""
    command = typer.main.get_command(app)
    sys.excepthook = _show_trace
    try:
        command(prog_name="meterport")
    except ConfigurationError as error:
        print(f"meterport: {_one_line(error)}", file=sys.stderr)  # noqa: T201
        raise SystemExit(EX_CONFIG) from None
    except MeterportError as error:
        print(f"meterport: {_one_line(error)}", file=sys.stderr)  # noqa: T201
        raise SystemExit(EX_SOFTWARE if isinstance(error, Fatal) else 1) from None
