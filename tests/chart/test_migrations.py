"""Migrations by a Job: it runs `meterport migrate` with what that command needs, and the pods wait for it."""

from pathlib import Path

import pytest
import typer.main
import yaml

from meterport import cli
from tests.chart.mounting import Mounted
from tests.chart.rendering import LEAST, Object, all_pods, one, pods, rendered
from tests.chart.schema import CHART
from tests.harness.clickhouse import ClickHouse
from tests.harness.own_clickhouse import server

__all__ = ["server"]  # the fixture of another file

JOB = CHART / "ci" / "migrations-job.yaml"


def name_of_job(sets: str = "") -> str:
    name: str = one(rendered(JOB, sets=sets), "Job")["metadata"]["name"]
    return name


def configuration(objects: list[Object]) -> dict[str, Object]:
    found: dict[str, Object] = yaml.safe_load(one(objects, "ConfigMap")["data"]["config.yaml"])
    return found


def test_each_pod_migrates_at_its_start_unless_a_job_does() -> None:
    by_pods, by_job = rendered(LEAST), rendered(JOB)

    assert [o for o in by_pods if o["kind"] == "Job"] == []
    assert "migrate" not in configuration(by_pods)["store"]
    assert configuration(by_job)["store"]["migrate"] == "wait"


def test_the_job_gets_the_secrets_of_the_store_and_its_own_ones() -> None:
    objects = rendered(JOB)
    [projected] = [volume for volume in all_pods(objects)["migrate"]["spec"]["volumes"] if "projected" in volume]
    given = {
        source["secret"]["items"][0]["path"]: source["secret"]["name"] for source in projected["projected"]["sources"]
    }

    assert given == {
        "METERPORT_STORE__USERNAME": "clickhouse-admin",
        "METERPORT_STORE__PASSWORD": "clickhouse-admin",
        "store.ca_location": "clickhouse",
    }
    for pod in pods(objects).values():
        assert "clickhouse-admin" not in str(pod)


def test_it_ends_and_is_tried_again_and_nobody_connects_to_it() -> None:
    objects = rendered(JOB)
    job = one(objects, "Job")["spec"]
    labels = job["template"]["metadata"]["labels"].items()
    services = [o["spec"]["selector"].items() for o in objects if o["kind"] == "Service"]

    assert (job["backoffLimit"], job["template"]["spec"]["restartPolicy"]) == (5, "OnFailure")
    assert "helm.sh/hook" not in str(one(objects, "Job")["metadata"])
    assert [selector for selector in services if selector <= labels] == []
    policy = one(objects, "NetworkPolicy", "-migrate")["spec"]
    assert "Ingress" in policy["policyTypes"]
    assert "ingress" not in policy


def test_what_it_would_do_differently_makes_another_job() -> None:
    """A Job cannot be changed, and one that has ended does not run again."""
    names = {name_of_job(), name_of_job("image.tag=0.2.0"), name_of_job("config.store.database=usage")}

    assert len(names) == 3
    assert name_of_job("api.replicas=5") in names


def test_the_name_of_a_job_of_a_long_release_is_not_too_long() -> None:
    name = one(rendered(JOB, name="r" * 53), "Job")["metadata"]["name"]

    assert len(name) <= 63  # it is a label of the Job's pods


def test_its_arguments_are_those_of_the_command() -> None:
    (container,) = all_pods(rendered(JOB))["migrate"]["spec"]["containers"]
    command, *arguments = container["args"]
    options = typer.main.get_command(cli.app).commands[command].params  # type: ignore[attr-defined]

    assert arguments[0] in {text for option in options for text in option.opts}
    assert len(arguments) == 2


@pytest.mark.thorough
def test_it_makes_the_schema_for_which_the_pods_wait(server: ClickHouse, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    key = {"name": "meterport", "key": "key"}
    chosen = {
        "config": {"store": {"url": server.url}, "kafka": {"brokers": "kafka:9092"}},
        "secrets": {"api_key": key, "portal.token_keys": key},
        "migrations": {"run": "job"},
    }
    values.write_text(yaml.safe_dump(chosen), encoding="utf-8")
    objects = rendered(values)
    job = Mounted(objects, all_pods(objects)["migrate"], tmp_path / "job")

    before, made, after = job.run("--check"), job.run(), job.run("--check")

    assert (before.returncode, made.returncode, after.returncode) == (1, 0, 0), made.stderr
    assert "no migration is pending" in after.stdout
