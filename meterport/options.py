"""Options that commands share: whose settings, which engine. And how all options are checked: UTF-8, but for paths."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.errors import InvalidRequest
from engine.texts import is_utf8, printable

Config = Annotated[Path | None, typer.Option("--config", "-c", help="YAML file with settings. Default: none.")]
DataDir = Annotated[Path | None, typer.Option(help="Where everything is kept. Default: ./data.")]
Server = Annotated[
    str | None,
    typer.Option(
        help="URL of a running server. Default: the process that has the data directory open, else one started for "
        "this command alone."
    ),
]


def require_utf8(command: Any) -> None:
    """Have a command, and every command below it, refuse options and arguments that are not UTF-8.

    The command line comes as bytes; Python makes a lone surrogate of each that is not UTF-8, which can be written
    nowhere. Paths may hold them: a file's name need not be UTF-8.
    """
    for child in getattr(command, "commands", {}).values():
        require_utf8(child)
    if command.callback:
        command.callback = _checked(command.callback, {parameter.name: parameter for parameter in command.params})


def use_plain_words(command: Any) -> None:
    """Have a command, and every command below it, refuse a wrong choice without the prefix of the library's errors."""
    for child in getattr(command, "commands", {}).values():
        use_plain_words(child)
    command.parse_args = in_plain_words(command.parse_args)


def in_plain_words(parse: Callable[..., Any]) -> Callable[..., Any]:
    """Return the parser of a command that refuses a wrong choice without the prefix of the library's errors."""

    @functools.wraps(parse)
    def run(*args: Any, **values: Any) -> Any:
        try:
            return parse(*args, **values)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise

    return run


def _checked(callback: Callable[..., Any], parameters: dict[str, Any]) -> Callable[..., Any]:
    @functools.wraps(callback)
    def run(*args: Any, **values: Any) -> Any:
        for name, value in values.items():
            for text in value if isinstance(value, list | tuple) else [value]:
                if isinstance(text, str) and not is_utf8(text):
                    parameter = parameters[name]
                    said = parameter.opts[0] if parameter.param_type_name == "option" else name.upper()
                    raise InvalidRequest(f"{said}: {printable(text)} is not UTF-8")
        return callback(*args, **values)

    return run
