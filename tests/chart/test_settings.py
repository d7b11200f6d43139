"""The program takes what the chart mounts, and the chart computes from the settings what the program computes."""

import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from engine.config.grace import grace_parts
from engine.config.loading import load_settings
from engine.config.settings import Settings, setting_names, variable_name
from engine.meters.definition import parse_definition
from tests.chart.mounting import SECRET_VALUES, Mounted
from tests.chart.rendering import CI_FILES, LEAST, LEAST_EMBEDDED, one, pods, rendered, template
from tests.chart.schema import CHART, SCHEMA, masked_settings, schema_text, secret_settings
from tests.chart.tools import HELMS, ROOT
from tests.documents.pages import OPERATIONS

ci_files = pytest.mark.parametrize("values", CI_FILES, ids=lambda file: file.stem)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("METERPORT_")]:
        monkeypatch.delenv(name)


def loaded(mounted: Mounted, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings of a pod's process."""
    with monkeypatch.context() as patch:
        for name, value in mounted.environment.items():
            patch.setenv(name, value)
        return load_settings(mounted.configuration, listens=mounted.command != "ingest")


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
    return value.get_secret_value() if isinstance(value, SecretStr) else value


@pytest.mark.parametrize("release", HELMS)
def test_the_values_in_the_documents_are_taken(release: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = re.findall(r"```yaml\n(# values.yaml\n.*?)```", OPERATIONS.read_text(encoding="utf-8"), re.DOTALL)
    values = tmp_path / "values.yaml"
    values.write_text(text)

    assert template(values, release=release).succeeded
    settings, _ = settings_of(values, directory=tmp_path, monkeypatch=monkeypatch)["api"]
    assert settings.kafka.ssl_ca_location == str(tmp_path / "api/etc/meterport/secrets/kafka.ssl_ca_location")


@pytest.mark.parametrize("release", HELMS)
def test_the_command_in_the_readme_is_taken(release: int) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", "")
    sets = re.findall(r"--set (\S+)", next(line for line in text.splitlines() if "helm upgrade --install" in line))

    assert template(sets=",".join(sets), release=release).succeeded


@pytest.mark.parametrize("name", sorted(secret_settings() - {"api_key_sha256"}))
def test_every_setting_can_come_from_a_secret(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its value ends in a newline, and is read through the links of a projected volume."""
    group, _, last = name.rpartition(".")
    secrets = {name: {"name": "any", "key": "a-key"}}
    config: dict[str, Any] = {group: {last: None}} if name in {"store.url", "store.username", "kafka.brokers"} else {}
    if name.startswith("store.") and name.endswith("_location"):  # only with TLS, and a key only with its certificate
        config = {"store": {"url": "https://clickhouse:8443"}}
        secrets = {"store.certificate_location": {"name": "client", "key": "tls.crt"}} | secrets
    more = tmp_path / "values.yaml"
    more.write_text(yaml.safe_dump({"config": config, "secrets": secrets}))

    objects = rendered(LEAST, more)
    mounted = Mounted(objects, pods(objects)["api"], tmp_path)
    value = _value(loaded(mounted, monkeypatch), name)

    if name.endswith("_location"):
        assert value == str(tmp_path / "etc/meterport/secrets" / name)
        assert Path(value).read_text() == "-----BEGIN-----\n"
    elif name in {"portal.token_keys", "kafka.options"}:
        secret = value[0] if isinstance(value, list) else value["ssl.key.pem"]
        assert _plain(secret) in SECRET_VALUES[name]
    else:
        assert _plain(value) == SECRET_VALUES[name]
    assert mounted.keys[name if name.endswith("_location") else variable_name(name)] == ("any", "a-key")


def test_ingest_gets_no_api_key(tmp_path: Path) -> None:
    objects = rendered(LEAST)
    paths = {command: set(Mounted(objects, pod, tmp_path / command).keys) for command, pod in pods(objects).items()}

    assert paths["api"] - paths["ingest"] == {"METERPORT_API_KEY"}


def test_options_from_config_and_from_a_secret_are_united(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = CHART / "ci" / "full.yaml"
    settings, _ = settings_of(full, directory=tmp_path, monkeypatch=monkeypatch)["ingest"]

    assert set(settings.kafka.options) == {"client.rack", "ssl.key.pem"}


# what is computed


@ci_files
def test_the_grace_period_is_the_programs(values: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for settings, pod in settings_of(values, directory=tmp_path, monkeypatch=monkeypatch).values():
        assert pod["spec"]["terminationGracePeriodSeconds"] == math.ceil(sum(grace_parts(settings).values()))


@pytest.mark.parametrize("values", [LEAST, LEAST_EMBEDDED], ids=lambda file: file.stem)
@pytest.mark.parametrize(
    "config",
    [
        {"server": {"drain_seconds": None}},
        {"server": {"drain_seconds": 0.25}},
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
        assert pod["spec"]["terminationGracePeriodSeconds"] == math.ceil(sum(grace_parts(settings).values()))


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


@pytest.mark.parametrize("name", sorted(masked_settings()))
def test_every_secret_in_config_is_refused_with_the_key_to_use(name: str) -> None:
    value = "{a-secret-of-this-test}" if name == "portal.token_keys" else "a-secret-of-this-test"
    answer = template(LEAST, sets=f"config.{name}={value}")

    assert not answer.succeeded
    assert f"config.{name} is a secret" in answer.complaints
    assert f'secrets: {{"{name}": {{name: THE-SECRET, key: ITS-KEY}}}}' in answer.complaints
    assert "a-secret-of-this-test" not in answer.complaints
