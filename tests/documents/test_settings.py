"""The documents name exactly the settings, variables, commands and options that exist."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer.main
import yaml
from pydantic.fields import FieldInfo

from engine.config.api_keys import ApiKey, Scope
from engine.config.files import ENV_PREFIX, SECRETS_VARIABLE
from engine.config.loading import HARNESS_PREFIX, load_settings
from engine.config.settings import Settings, setting_names, variable_name
from engine.meters.definition import parse_definition
from meterport import cli
from tests.documents.pages import ROOT, SETTINGS, mentioned, plain, rows

PROMPTED = {f"{ENV_PREFIX}SERVER__PROT"}  # a misspelling that docs/settings.md shows on purpose
FILES = {"log.sqlite"}  # looks like a setting of the group `log`


# settings


def test_every_setting_stands_with_its_variable_and_default() -> None:
    documented = {plain(row[0]): (plain(row[1]), row[2]) for row in _settings_table()}

    assert documented == {name: (variable_name(name), _shown_default(field)) for name, field in setting_names().items()}
    assert all(row[3] for row in _settings_table())


def test_no_page_names_a_setting_that_does_not_exist() -> None:
    groups = {name.split(".")[0] for name in setting_names() if "." in name}
    named = set(mentioned(rf"(?<=`)(?:{'|'.join(groups)})\.[a-z_0-9]+(?=[`=])"))
    known = setting_names().keys() | FILES | _chart_values()

    assert [(page, name) for page, name in sorted(named) if name not in known] == []


def _chart_values() -> set[str]:
    """Return the values of the Helm chart that are named like settings of a group."""
    values = yaml.safe_load((ROOT / "deploy" / "chart" / "values.yaml").read_text(encoding="utf-8"))
    return {f"{group}.{name}" for group, inner in values.items() if isinstance(inner, dict) for name in inner}


def test_no_page_names_a_variable_that_does_not_exist() -> None:
    known = {variable_name(name) for name in setting_names()} | {variable_name(name) for name in Settings.model_fields}
    known.add(SECRETS_VARIABLE)
    named = set(mentioned(rf"\b{ENV_PREFIX}[A-Z0-9_]*[A-Z0-9]"))

    assert [
        (page, name)
        for page, name in sorted(named)
        if name not in known | PROMPTED and not name.startswith(HARNESS_PREFIX)
    ] == []


def test_the_example_of_settings_is_taken(tmp_path: Path) -> None:
    example, _ = _yaml_examples()
    (tmp_path / "meterport.yaml").write_text(example)

    settings = load_settings(tmp_path / "meterport.yaml", overrides={"api_key": "a-key-of-this-test"})

    assert settings.server.telemetry_port == yaml.safe_load(example)["server"]["telemetry_port"]
    assert [parse_definition(body).slug for body in settings.meters] == ["tokens_total", "prompts"]


def test_the_example_of_keys_is_taken(tmp_path: Path) -> None:
    _, example = _yaml_examples()
    (tmp_path / "meterport.yaml").write_text(example)

    keys = load_settings(tmp_path / "meterport.yaml").management_keys

    assert [(key.name, {*key.scopes}) for key in keys] == [("producers", {"ingest"}), ("backend", {"query", "tokens"})]


def test_every_scope_of_keys_stands() -> None:
    assert [plain(row[0]) for row in rows(SETTINGS, "scope", "the key may")] == [*Scope]


def test_every_member_of_a_key_stands() -> None:
    assert [plain(row[0]) for row in rows(SETTINGS, "member", "rule")] == [*ApiKey.model_fields]


def test_the_example_of_tls_and_sasl_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    [example] = re.findall(r"```sh\n(METERPORT_KAFKA.*?)```", SETTINGS.read_text(encoding="utf-8"), re.DOTALL)
    given = dict(re.findall(r"^(\w+)=(\S+)", example, re.MULTILINE))
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    kafka = load_settings().kafka

    assert (kafka.security_protocol, kafka.sasl_mechanism) == ("SASL_SSL", "SCRAM-SHA-512")
    assert len(given) == len(kafka.model_dump(exclude_defaults=True)) == 6


def _yaml_examples() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", SETTINGS.read_text(encoding="utf-8"), re.DOTALL)


def _settings_table() -> list[list[str]]:
    return rows(SETTINGS, "setting", "variable", "default", "meaning")


def _shown_default(field: FieldInfo) -> str:
    """Return a default as the page writes it: a text unchanged, None as none, other values as JSON."""
    match field.get_default(call_default_factory=True):
        case None | "":
            return "none"
        case str() | Path() as text:
            return f"`{text}`"
        case value:
            return f"`{orjson.dumps(value).decode()}`"


# command line


def test_every_command_stands_with_its_options() -> None:
    documented = {plain(row[0]): re.findall(r"`(-[^`]+)`", row[1]) for row in rows(SETTINGS, "command", "options")}

    assert {name: sorted(options) for name, options in documented.items()} == {
        name: sorted(options) for name, options in _commands("meterport", typer.main.get_command(cli.app)) if options
    }


def _commands(name: str, command: Any) -> Iterator[tuple[str, list[str]]]:
    options = [
        text
        for option in command.params
        if option.param_type_name == "option" and option.name != "help"
        for text in (*option.opts, *option.secondary_opts)
    ]
    yield name, options
    for child, below in getattr(command, "commands", {}).items():
        yield from _commands(f"{name} {child}", below)
