"""The command line: its commands, each of which is imported only when it is used, and the reporting of errors.

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
from engine.config.redaction import fit_to_show, one_line
from engine.errors import ConfigurationError, Fatal, MeterportError, StoreUnavailable
from meterport.options import require_utf8, use_plain_errors, with_plain_errors

EX_CONFIG = 78
EX_TEMPFAIL = 75
EX_SOFTWARE = 70

# Name → module and member in meterport.commands, and the summary in the list of commands, which imports none of them.
COMMANDS = {
    "serve": ("processes", "serve", "Serve the API and meter events, all in this one process."),
    "api": ("processes", "api", "Serve only the API: it sends events to Kafka and queries a ClickHouse server."),
    "ingest": (
        "processes",
        "ingest",
        "Meter the events of the Kafka topic: store them in a ClickHouse server, exactly once.",
    ),
    "migrate": ("migrate", "migrate_store", "Bring the schema of the store to this release, and end."),
    "query": (
        "query",
        "query",
        "Print the usage of a meter. Values are exact; each row is one window [start, end) of one group.",
    ),
    "import": (
        "import_",
        "import_command",
        "Import events from a file: CloudEvents as NDJSON, or rows of CSV or Parquet.",
    ),
    "meters": ("meters", "meters", "List, create and delete meters."),
    "token": ("tokens", "token", "Create, list and invalidate portal tokens, which show customers their usage."),
    "dead-letters": ("dead_letters", "dead_letters", "List and replay dead letters: records that are not events."),
    "doctor": (
        "doctor",
        "doctor",
        "Check what a process needs: ClickHouse, Kafka, the topic and the rights. Nothing is written anywhere.",
    ),
    "config": ("config", "settings", "Show the settings."),
}


class _Commands(Mapping[str, Any]):
    """The commands by name. Each is imported on first access, because most need neither the store nor Kafka."""

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
    use_plain_errors(command)
    return command


class _Root(typer.core.TyperGroup):
    """The command `meterport`."""

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self.commands: Any = _Commands()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments; errors are reported without the library's prefix."""
        parsed: list[str] = with_plain_errors(super().parse_args)(ctx, args)
        return parsed

    def format_commands(self, _: Any, formatter: Any) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, _, summary) in COMMANDS.items()])


app = typer.Typer(
    name="meterport",
    help="Usage metering on ClickHouse: exact even after crashes, with answers in milliseconds.",
    cls=_Root,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Plain help: brackets and examples are printed as they are.
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
    """Define the options that come before the command."""


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of a defect, without secrets and control characters that library messages may contain."""
    print(fit_to_show("".join(traceback.format_exception(kind, error, trace)).rstrip()), file=sys.stderr)  # noqa: T201


def run() -> None:
    """Run the command line. A `MeterportError` is printed as one line on stderr, without control characters."""
    command = typer.main.get_command(app)
    sys.excepthook = _print_traceback
    try:
        command(prog_name="meterport")
    except ConfigurationError as error:
        print(f"meterport: {one_line(str(error))}", file=sys.stderr)  # noqa: T201
        raise SystemExit(EX_CONFIG) from None
    except StoreUnavailable as error:
        print(f"meterport: {one_line(str(error))}", file=sys.stderr)  # noqa: T201
        raise SystemExit(EX_TEMPFAIL) from None
    except MeterportError as error:
        print(f"meterport: {one_line(str(error))}", file=sys.stderr)  # noqa: T201
        raise SystemExit(EX_SOFTWARE if isinstance(error, Fatal) else 1) from None
