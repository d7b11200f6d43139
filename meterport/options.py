"""Options that several commands have, and the checks of all options: every option except a path must be UTF-8."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.errors import InvalidRequest
from engine.texts import is_utf8, printable

Config = Annotated[Path | None, typer.Option("--config", "-c", help="YAML file with settings. Default: none.")]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Directory of the embedded store, the event log and the signing key. Default: ./data."),
]
Server = Annotated[
    str | None,
    typer.Option(
        help="URL of a running server. Default: the process that has the data directory open, or else a server that is "
        "started for this command only."
    ),
]


def require_utf8(command: Any) -> None:
    """Make a command and its subcommands refuse options and arguments that are not UTF-8.

    The command line consists of bytes. Python turns each byte that is not UTF-8 into a lone surrogate, which cannot be
    encoded again. Paths are exempt, because a file name need not be UTF-8.
    """
    for child in getattr(command, "commands", {}).values():
        require_utf8(child)
    if command.callback:
        command.callback = _with_utf8_check(
            command.callback, {parameter.name: parameter for parameter in command.params}
        )


def use_plain_errors(command: Any) -> None:
    """Make a command and its subcommands report invalid values without the library's prefix "Value error, "."""
    for child in getattr(command, "commands", {}).values():
        use_plain_errors(child)
    command.parse_args = with_plain_errors(command.parse_args)


def with_plain_errors(parse: Callable[..., Any]) -> Callable[..., Any]:
    """Return a parser of arguments that reports invalid values without the library's prefix "Value error, "."""

    @functools.wraps(parse)
    def run(*args: Any, **values: Any) -> Any:
        try:
            return parse(*args, **values)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise

    return run


def _with_utf8_check(callback: Callable[..., Any], parameters: dict[str, Any]) -> Callable[..., Any]:
    @functools.wraps(callback)
    def run(*args: Any, **values: Any) -> Any:
        for name, value in values.items():
            for text in value if isinstance(value, list | tuple) else [value]:
                if isinstance(text, str) and not is_utf8(text):
                    parameter = parameters[name]
                    shown = parameter.opts[0] if parameter.param_type_name == "option" else name.upper()
                    raise InvalidRequest(f"{shown}: {printable(text)} is not UTF-8")
        return callback(*args, **values)

    return run
