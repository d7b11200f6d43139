"""The program takes what the chart mounts, and the chart computes from the settings what the program computes."""

import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from engine.config.api_keys import ApiKey
from engine.config.loading import load_settings
from engine.config.settings import Settings, setting_names, variable_name
from engine.config.show import settings_yaml
from engine.meters.definition import parse_definition
from tests.chart.mounting import SECRET_VALUES, Mounted
from tests.chart.rendering import LEAST, LEAST_EMBEDDED, both_helms, ci_files, one, pods, rendered, template
from tests.chart.schema import CHART, SCHEMA, masked_settings, schema_text, secret_settings
from tests.chart.tools import ROOT
from tests.documents.pages import OPERATIONS


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("METERPORT_")]:
        monkeypatch.delenv(name)


def loaded(mounted: Mounted, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings of a pod's process."""
    with monkeypatch.context() as patch:
        for name, value in mounted.environment.items():
            patch.setenv(name, value)
        return load_settings(mounted.configuration, listens=mounted.command in {"api", "serve"})


def settings_of(
    *values: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, tuple[Settings, dict[str, Any]]]:
    """Return the settings and the pod of each command."""
    objects = rendered(*values)
    return {
        command: (loaded(Mounted(objects, pod, directory / command), monkeypatch), pod)
        for command, pod in pods(objects).items()
    }


@ci_files
def test_the_program_takes_what_is_mounted(values: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = yaml.safe_load(values.read_text(encoding="utf-8"))
    for settings, _ in settings_of(values, directory=tmp_path, monkeypatch=monkeypatch).values():
        for name in _names(given.get("config", {})):
            assert _plain(_value(settings, name)) == _plain(_value(given["config"], name)), name
        for meter in settings.meters:
            parse_definition(meter)


def _names(config: dict[str, Any]) -> list[str]:
    return [name for name in setting_names() if name != "kafka.options" and _value(config, name) is not None]


def _value(values: Any, name: str) -> Any:
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else getattr(values, part, None)
    return values


def _plain(value: Any) -> Any:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case list():
            return [_plain(each) for each in value]
        case ApiKey():
            return {name: _plain(member) for name, member in value if member is not None}
        case _:
            return value


@both_helms
def test_the_values_in_the_documents_are_taken(release: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = re.findall(r"```yaml\n(# values.yaml\n.*?)```", OPERATIONS.read_text(encoding="utf-8"), re.DOTALL)
    values = tmp_path / "values.yaml"
    values.write_text(text)

    assert template(values, release=release).succeeded
    settings, _ = settings_of(values, directory=tmp_path, monkeypatch=monkeypatch)["api"]
    assert settings.kafka.ssl_ca_location == str(tmp_path / "api/etc/meterport/secrets/kafka.ssl_ca_location")


@both_helms
def test_the_command_in_the_readme_is_taken(release: int) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", "")
    text = text.replace("$REGISTRY", "registry.example.com")
    sets = re.findall(r"--set (\S+)", next(line for line in text.splitlines() if "helm upgrade --install" in line))

    assert template(sets=",".join(sets), release=release).succeeded


def test_every_setting_can_come_from_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its value ends in a newline, and is read through the links of a projected volume."""
    names = secret_settings() - {"api_key_sha256"}  # of another key than api_key
    values = tmp_path / "values.yaml"
    secrets = {name: {"name": f"secret-of-{name.replace('_', '-')}", "key": "a-key"} for name in names}
    secured = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN"}
    values.write_text(yaml.safe_dump({"secrets": secrets, "config": {"kafka": secured}}))

    objects = rendered(values)
    mounted = Mounted(objects, pods(objects)["api"], tmp_path)
    settings = loaded(mounted, monkeypatch)

    for name in names:
        value = _value(settings, name)
        if name.endswith("_location"):
            assert value == str(tmp_path / "etc/meterport/secrets" / name)
            assert Path(value).read_text() == "-----BEGIN-----\n"
        elif name == "kafka.options":
            assert value["ssl.key.pem"].get_secret_value() in SECRET_VALUES[name]
        elif name == "portal.token_keys":
            assert value[0].get_secret_value() in SECRET_VALUES[name]
        elif name == "api_keys":
            assert value[0].key.get_secret_value() in SECRET_VALUES[name]
        else:
            assert _plain(value) == SECRET_VALUES[name]
        path = name if name.endswith("_location") else variable_name(name)
        assert mounted.keys[path] == tuple(secrets[name].values())


def test_ingest_gets_no_api_key(tmp_path: Path) -> None:
    objects = rendered(LEAST, sets="secrets.api_keys.name=meterport,secrets.api_keys.key=api-keys")
    paths = {command: set(Mounted(objects, pod, tmp_path / command).keys) for command, pod in pods(objects).items()}

    assert paths["api"] - paths["ingest"] == {"METERPORT_API_KEY", "METERPORT_API_KEYS"}


def test_options_from_config_and_from_a_secret_are_united(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = CHART / "ci" / "full.yaml"
    settings, _ = settings_of(full, directory=tmp_path, monkeypatch=monkeypatch)["ingest"]

    assert set(settings.kafka.options) == {"client.rack", "ssl.key.pem"}


# what is computed


@ci_files
def test_the_grace_period_is_the_programs(values: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for settings, pod in settings_of(values, directory=tmp_path, monkeypatch=monkeypatch).values():
        assert pod["spec"]["terminationGracePeriodSeconds"] == _shown_grace_seconds(settings)


def _shown_grace_seconds(settings: Settings) -> int:
    """Return what `meterport config show` prints as the grace period, in whole seconds."""
    (seconds,) = re.findall(r"ends within (\S+) seconds, its grace period", settings_yaml(settings, {}, None))
    return math.ceil(float(seconds))


@pytest.mark.parametrize("values", [LEAST, LEAST_EMBEDDED], ids=lambda file: file.stem)
@pytest.mark.parametrize(
    "config",
    [
        {"server": {"drain_seconds": None}},
        {"server": {"drain_seconds": 0.25}},
        {"tracing": True},
        {"server": {"drain_seconds": 600, "shutdown_seconds": 3600}},
        {"server": {"shutdown_seconds": 1}, "kafka": {"brokers": "kafka:9092", "produce_seconds": 1.5}},
    ],
    ids=str,
)
def test_the_grace_period_of_other_settings_is_the_programs(
    values: Path, config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = tmp_path / "values.yaml"
    more.write_text(yaml.safe_dump({"config": config}))

    for settings, pod in settings_of(values, more, directory=tmp_path, monkeypatch=monkeypatch).values():
        assert pod["spec"]["terminationGracePeriodSeconds"] == _shown_grace_seconds(settings)


def test_defaults_that_the_chart_needs_are_the_programs() -> None:
    """The values of these settings are not in values.yaml, or are removed from it with null."""
    defaults = Settings()
    keda = one(rendered(LEAST, sets="ingest.keda.enabled=true"), "ScaledObject")["spec"]["triggers"][0]["metadata"]
    ports = pods(rendered(LEAST, sets="config.server.port=null"))["api"]["spec"]["containers"][0]["ports"]

    assert ports[0]["containerPort"] == defaults.server.port
    assert keda["topic"] == defaults.kafka.topic
    assert keda["consumerGroup"] == defaults.kafka.group
    assert int(keda["lagThreshold"]) == 2 * defaults.ingest.batch_rows
    assert template(LEAST, sets=f"ingest.replicas={defaults.kafka.partitions}").succeeded
    assert not template(LEAST, sets=f"ingest.replicas={defaults.kafka.partitions + 1}").succeeded
    assert defaults.server.telemetry_port is None


# the schema


def test_the_schema_is_that_of_the_settings() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), "run python -m tests.chart.schema"


def test_every_secret_in_config_is_refused_with_the_key_to_use() -> None:
    value = "a-secret-of-this-test"
    sets = {f"config.{name}": value for name in masked_settings()} | {"config.portal.token_keys": f"{{{value}}}"}
    sets |= {"config.api_keys[0].name": "producers", "config.api_keys[0].key": value}
    sets |= {"config.api_keys[0].scopes": "{ingest}"}
    answer = template(LEAST, sets=",".join(f"{name}={given}" for name, given in sets.items()))

    assert not answer.succeeded
    for name in masked_settings() | {"api_keys"}:
        assert f"config.{name}{'[0].key' if name == 'api_keys' else ''} is a secret" in answer.complaints
        assert f'secrets: {{"{name}": {{name: THE-SECRET, key: ITS-KEY}}}}' in answer.complaints
    assert value not in answer.complaints
