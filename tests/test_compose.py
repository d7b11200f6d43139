"""What deploy/compose.yaml starts: our processes understand their variables, and all that it mounts exists.

No container is started: this needs a docker engine, and the images of others. The file was checked with the reference
implementation of the Compose specification (compose-go 2).
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.config.grace import grace_parts
from engine.config.loading import load_settings
from engine.config.settings import Settings
from tests.harness.services import skip_or_fail

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
VALUES = {
    "API_KEY": "5f3a9c1be7d24608",
    "TOKEN_KEY": "c0d1e2f3a4b5968778695a4b",
    "CLICKHOUSE_PASSWORD": "9b8c7d6e5f4a3b2c",
}
OURS = ("api", "ingest")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Return the document with values in the place of its variables."""
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: VALUES[found[1]], text))
    return found


def settings(service: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Settings:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    of_image = dict(re.findall(r"(METERPORT_\w+)=(\S+)", dockerfile[: dockerfile.index("AS meterport-embedded")]))
    for name, value in {**of_image, **service["environment"]}.items():
        if name.startswith("METERPORT_"):
            monkeypatch.setenv(name, value)
    return load_settings()


@pytest.mark.parametrize("name", OURS)
def test_a_process_accepts_its_settings_and_has_time_to_end(
    compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    service = compose["services"][name]

    found = settings(service, monkeypatch)

    assert service["command"][0] == name
    assert found.kafka.brokers == "kafka:9092"
    password = compose["services"]["clickhouse"]["environment"]["CLICKHOUSE_PASSWORD"]
    assert found.store.url is not None
    assert found.store.password is not None
    assert found.store.url.get_secret_value() == "http://clickhouse:8123"
    assert found.store.password.get_secret_value() == password
    assert sum(grace_parts(found).values()) <= int(service["stop_grace_period"].removesuffix("s"))
    assert f":{found.server.telemetry_port}/readyz" in service["healthcheck"]["test"][-1]


def test_all_that_is_mounted_exists(compose: dict[str, Any]) -> None:
    mounts = [mount.split(":")[0] for service in compose["services"].values() for mount in service.get("volumes", [])]
    configs = [config["source"] for service in compose["services"].values() for config in service.get("configs", [])]

    assert [mount for mount in mounts if mount.startswith("./") and not (DEPLOY / mount).is_file()] == []
    assert {mount for mount in mounts if not mount.startswith("./")} == compose["volumes"].keys()
    assert {*configs} == compose["configs"].keys()


def test_ports_are_open_to_this_machine_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]

    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_the_broker_is_of_the_release_that_the_tests_use(compose: dict[str, Any]) -> None:
    pom = (DEPLOY.parent / "tests" / "kafka" / "pom.xml").read_text(encoding="utf-8")
    [version] = re.findall(r"<artifactId>kafka_2\.13</artifactId>\s*<version>(.+?)</version>", pom)

    assert compose["services"]["kafka"]["image"] == f"docker.io/apache/kafka:{version}"


def test_prometheus_accepts_its_configuration(compose: dict[str, Any], tmp_path: Path) -> None:
    promtool = shutil.which("promtool") or skip_or_fail("no promtool (Debian: package prometheus) on this machine")
    content = compose["configs"]["prometheus"]["content"].replace(
        "/etc/prometheus/alerts.yaml", str(DEPLOY / "alerts.yaml")
    )
    (tmp_path / "prometheus.yml").write_text(content, encoding="utf-8")

    checked = subprocess.run(
        [promtool, "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_grafana_finds_the_dashboard_where_it_is_mounted(compose: dict[str, Any]) -> None:
    provided = yaml.safe_load(compose["configs"]["grafana-dashboards"]["content"])["providers"]
    source = yaml.safe_load(compose["configs"]["grafana-source"]["content"])["datasources"]
    mounted = [mount.split(":")[1] for mount in compose["services"]["grafana"]["volumes"]]

    assert str(Path(mounted[0]).parent) == provided[0]["options"]["path"]
    assert source[0]["url"] == "http://prometheus:9090"
