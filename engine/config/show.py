"""The current settings as YAML: each with its source, secrets masked."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr

from engine.config.files import SECRETS_VARIABLE, read_configuration
from engine.config.grace import grace_parts
from engine.config.redaction import MASK
from engine.config.settings import Settings, setting_names, variable_name
from engine.config.settings_group import SettingsGroup
from engine.texts import printable

_SECRET = frozenset({"api_key_sha256"})  # A short key can be guessed from its digest.


def settings_yaml(settings: Settings, flags: Mapping[str, Any], file: Path | None) -> str:
    """Return all settings as YAML, in the order of their definition, and the grace period that follows from them.

    Args: flags: the values from the command line, nested as in YAML. file: the YAML file that was read.
    """
    in_file = read_configuration(file) if file else {}
    variables = {variable.upper(): variable for variable in os.environ}
    secrets = os.environ.get(SECRETS_VARIABLE)
    for secret in Path(secrets).iterdir() if secrets else ():
        variables.setdefault(secret.name.upper(), str(secret))
    lines: list[str] = []
    group = ""
    for name in setting_names():
        path = name.split(".")
        if len(path) > 1 and path[0] != group:
            group = path[0]
            lines.append(f"{group}:")
        source = _source(path, flags, variables, in_file, file)
        lines += _entry("  " * (len(path) - 1), path[-1], _value_to_show(settings, name), source)
    parts = grace_parts(settings)
    lines.append(f"# After SIGTERM a process ends within {sum(parts.values()):g} seconds, its grace period:")
    lines += [f"#   {seconds:g}: {part}" for part, seconds in parts.items()]
    return "\n".join(lines) + "\n"


def _entry(indent: str, name: str, value: Any, source: str) -> list[str]:
    comment = f"  # {printable(source)}" if source else ""
    text = _dump({name: value}, unicode=True)
    if any(line != printable(line) for line in text):  # There are control sequences or invisible characters.
        text = _dump({name: value}, unicode=False)
    return [f"{indent}{text[0]}{comment}", *(f"{indent}{line}" for line in text[1:])]


def _dump(values: dict[str, Any], unicode: bool) -> list[str]:
    """Return the values as lines of YAML. Args: unicode: False: characters other than ASCII are escaped."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=unicode, width=1000).rstrip("\n").split("\n")


def _value_to_show(settings: Settings, name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return MASK if name in _SECRET and value else _plain(value)


def _plain(value: Any) -> Any:
    match value:
        case SecretStr():
            return MASK
        case Path():
            return str(value)
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case SettingsGroup():
            return {name: _plain(item) for name, item in value if item is not None}
        case _:
            return value


def _source(
    path: list[str], flags: Mapping[str, Any], variables: Mapping[str, str], in_file: Any, file: Path | None
) -> str:
    if _has(flags, path):
        return "from the command line"
    for length in range(len(path), 0, -1):  # One variable may contain a whole group as JSON.
        variable = variable_name(".".join(path[:length]))
        if variable in variables:
            return f"from {variables[variable]}"
    return f"from {file}" if _has(in_file, path) else ""


def _has(values: Any, path: list[str]) -> bool:
    for name in path:
        if not isinstance(values, Mapping) or name not in values:
            return False
        values = values[name]
    return True
