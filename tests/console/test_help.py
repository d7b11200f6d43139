"""The help explains every command and option, and a wrong choice is refused in our own words."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from meterport import cli
from tests.harness.command import meterport


def test_every_option_of_every_command_is_explained() -> None:
    commands = list(walk(typer.main.get_command(cli.app), "meterport"))

    processes = {"meterport serve", "meterport api", "meterport ingest"}
    assert {path for path, _ in commands} == processes | {
        "meterport migrate", "meterport query", "meterport import", "meterport config show", "meterport doctor",
        "meterport meters list", "meterport meters create", "meterport meters delete",
        "meterport token create", "meterport token list", "meterport token invalidate",
        "meterport dead-letters list", "meterport dead-letters replay",
    }  # fmt: skip
    for path, command in commands:
        text = command.get_help(command.make_context(path, [], resilient_parsing=True))
        assert command.help, path
        assert path in processes or re.search(r"^  Examples?:", text, re.MULTILINE), path
        for parameter in command.params:
            assert parameter.help, f"{path} {parameter.name}"
            assert parameter.name == "path" or any(option in text for option in parameter.opts), (
                f"{path} {parameter.name}"
            )


def test_the_list_of_commands_says_of_each_what_its_own_help_says_first() -> None:
    for name, command in typer.main.get_command(cli.app).commands.items():  # type: ignore[attr-defined]
        first = command.help.split("\n\n")[0].replace("\n", " ")
        assert cli.COMMANDS[name][2] == first, name


@pytest.mark.parametrize("group", ["meters", "token", "dead-letters", "config"])
def test_no_summary_of_a_command_is_cut_off_in_a_list(group: str) -> None:
    listed = meterport(group, "--help", variables={"COLUMNS": "80"}).stdout

    _, _, commands = listed.partition("Commands:")
    assert commands
    assert "..." not in commands


def test_no_option_shows_a_type_of_python() -> None:
    for path, command in walk(typer.main.get_command(cli.app), "meterport"):
        text = command.get_help(command.make_context(path, [], resilient_parsing=True))
        assert "list[" not in text, path


def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from walk(inner, f"{path} {name}")


def test_version_and_the_programs_name() -> None:
    assert meterport("--version").stdout.startswith("meterport ")
    assert meterport("query").stderr.startswith("Usage: meterport query ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["meters", "list", "--format", "maybe"],
            "Invalid value for '--format': 'maybe' is not one of 'table', 'json'",
        ),
        (["import", "--ambiguous", "x", "a.csv"], "Invalid value for '--ambiguous': 'x' is not one of 'error', "),
        (["dead-letters", "list", "--limit", "x"], "Invalid value for '--limit': Input should be a valid integer"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_wrong_choice_is_refused_without_the_words_of_a_library(arguments: list[str], message: str) -> None:
    """Regression: the message began with the words "Value error"."""
    ended = meterport(*arguments)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"Error: {message}" in ended.stderr
