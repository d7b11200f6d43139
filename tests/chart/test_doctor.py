"""The pod of `helm test` runs `meterport doctor` with the settings and the Secrets of the release, and nothing else."""

import subprocess
from pathlib import Path

import pytest
import typer.main
import yaml

from meterport import cli
from tests.chart.mounting import Mounted
from tests.chart.rendering import LEAST, LEAST_EMBEDDED, Object, all_pods, ci_files, one, rendered
from tests.harness.broker import Kafka, create_topic
from tests.harness.clickhouse import ClickHouse
from tests.harness.own_clickhouse import server

__all__ = ["server"]  # the fixture of another file

NOWHERE = "127.0.0.1:1"  # nothing listens there
KEYS = {"api_key": {"name": "meterport", "key": "api-key"}, "portal.token_keys": {"name": "meterport", "key": "keys"}}


@pytest.mark.parametrize(("values", "frontend"), [(LEAST, "api"), (LEAST_EMBEDDED, "serve")])
def test_it_has_what_the_process_has_that_answers_the_api(values: Path, frontend: str) -> None:
    pods = all_pods(rendered(values))
    doctor, other = pods["doctor"]["spec"], pods[frontend]["spec"]
    (container,), (other_container,) = doctor["containers"], other["containers"]

    same = ("serviceAccountName", "securityContext", "automountServiceAccountToken", "enableServiceLinks")
    assert {name: doctor[name] for name in same} == {name: other[name] for name in same}
    for name in ("image", "securityContext", "volumeMounts"):
        assert container[name] == other_container[name]
    directory = {"name": "METERPORT_DATA_DIR", "value": "/var/lib/meterport/doctor"}  # within its own volume
    assert [entry for entry in container["env"] if entry != directory] == other_container["env"]
    assert (directory in container["env"]) == (frontend == "serve")
    assert [volume for volume in doctor["volumes"] if volume["name"] != "data"] == other["volumes"]
    assert not {"ports", "livenessProbe", "readinessProbe", "startupProbe"} & container.keys()


@ci_files
def test_helm_runs_it_only_when_it_is_asked_to(values: Path) -> None:
    """It is the only hook, so that neither an installation nor Argo CD waits for one."""
    hooks = [o for o in rendered(values) if "helm.sh/hook" in o["metadata"].get("annotations", {})]

    for pod in hooks:
        assert (pod["kind"], pod["metadata"]["annotations"]["helm.sh/hook"]) == ("Pod", "test")
        assert pod["metadata"]["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation"
        assert pod["spec"]["restartPolicy"] == "Never"
        assert pod["spec"]["activeDeadlineSeconds"] == 300
    assert len(hooks) == (0 if values.stem == "keda-defaults" else 1)


def test_it_is_in_no_service_and_in_no_monitor() -> None:
    """While it runs, nothing may connect to it or scrape it."""
    objects = rendered(LEAST, sets="monitoring.serviceMonitor.enabled=true,networkPolicy.enabled=true")
    labels = all_pods(objects)["doctor"]["metadata"]["labels"].items()
    services = [o for o in objects if o["kind"] == "Service"]

    assert len(services) == 2
    assert [o["metadata"]["name"] for o in services if o["spec"]["selector"].items() <= labels] == []
    policy = one(objects, "NetworkPolicy", "-doctor")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels
    assert "Ingress" in policy["policyTypes"]
    assert "ingress" not in policy  # an empty list would be a change with each server-side apply


def test_its_arguments_are_those_of_the_command() -> None:
    (container,) = all_pods(rendered(LEAST))["doctor"]["spec"]["containers"]
    command, *arguments = container["args"]
    options = typer.main.get_command(cli.app).commands[command].params  # type: ignore[attr-defined]

    assert arguments[0] in {text for option in options for text in option.opts}
    assert len(arguments) == 2


def run(objects: list[Object], directory: Path) -> subprocess.CompletedProcess[str]:
    """Run what the pod runs."""
    return Mounted(objects, all_pods(objects)["doctor"], directory).run()


@pytest.mark.thorough
def test_it_fails_and_says_what_is_wrong(tmp_path: Path) -> None:
    sets = f"config.store.url=http://{NOWHERE},config.kafka.brokers={NOWHERE}"
    ended = run(rendered(LEAST, sets=sets), tmp_path)

    faults = [line.split(":")[0].split(maxsplit=1)[1] for line in ended.stdout.splitlines() if line.startswith("fault")]
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert {"store address", "kafka addresses"} <= {*faults}


@pytest.mark.thorough
def test_it_succeeds_if_all_is_right(server: ClickHouse, broker: Kafka, tmp_path: Path) -> None:
    """The user of ClickHouse has the rights that the manifests of deploy/examples grant."""
    server.restrict("GRANT ALL ON meterport.*")
    create_topic(broker.bootstrap, "doctor", 3, {"retention.ms": str(7 * 86_400_000)})
    kafka = {"brokers": broker.bootstrap, "topic": "doctor", "group": "doctor", "partitions": 3}
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"config": {"store": {"url": server.url}, "kafka": kafka}, "secrets": KEYS}))
    ended = run(rendered(values), tmp_path)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    for check in ("store rights", "kafka rights", "topic partitions"):
        assert f"\nok       {check}" in ended.stdout


@pytest.mark.thorough
def test_it_succeeds_in_mode_embedded(tmp_path: Path) -> None:
    ended = run(rendered(LEAST_EMBEDDED), tmp_path)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "data directory" in ended.stdout
