"""The manifests of deploy/examples are what the operators accept, and the values beside them fit to them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.mounting import Mounted
from tests.chart.rendering import Object, one, pods, rendered, template
from tests.chart.schema import CHART
from tests.chart.validation import faults
from tests.documents.pages import SETTINGS, rows

EXAMPLES = CHART.parent / "examples"
OPERATORS = ("strimzi-kafka.yaml", "altinity-clickhouse.yaml")
VALUES = tuple(EXAMPLES / f"{name}-values.yaml" for name in ("strimzi", "altinity", "keys"))


def manifests(name: str) -> list[Object]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def installed() -> list[Object]:
    """Return the objects of a release with the values of all examples."""
    return rendered(*VALUES)


def _config(objects: list[Object]) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(one(objects, "ConfigMap")["data"]["config.yaml"])
    return found


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_accepts_the_manifests(name: str) -> None:
    assert [fault for obj in manifests(name) for fault in faults(obj, "1.34")] == []


@pytest.mark.parametrize("name", OPERATORS)
def test_an_unknown_field_is_found(name: str) -> None:
    for obj in manifests(name):
        obj["spec"]["unknown"] = 1
        assert len(faults(obj, "1.34")) == 1


def test_the_topic_is_as_the_documents_say(installed: list[Object]) -> None:
    kafka = _config(installed)["kafka"]
    topic = one(manifests("strimzi-kafka.yaml"), "KafkaTopic")

    assert topic["metadata"]["name"] == kafka["topic"]
    assert topic["spec"]["partitions"] == kafka["partitions"]
    assert topic["spec"]["replicas"] == 3
    assert topic["spec"]["config"] == {
        "cleanup.policy": "delete",
        "min.insync.replicas": 2,
        "retention.ms": 7 * 86_400_000,
    }


def test_the_user_of_kafka_has_the_rights_in_the_documents(installed: list[Object]) -> None:
    """Both commands use it, so it has the rights of both."""
    table = {row[0]: row[1:] for row in rows(SETTINGS, "on", "`api`", "`ingest`", "`serve`")}
    user = one(manifests("strimzi-kafka.yaml"), "KafkaUser")
    given = {acl["resource"]["type"]: set(acl["operations"]) for acl in user["spec"]["authorization"]["acls"]}
    named = {acl["resource"]["type"]: acl["resource"]["name"] for acl in user["spec"]["authorization"]["acls"]}

    assert given["topic"] == {right for cell in table["topic of events"][:2] for right in cell.split(", ")}
    assert given["group"] == set(table["group"][1].split(", "))
    assert named == {"topic": _config(installed)["kafka"]["topic"], "group": "meterport"}


def test_the_secrets_are_those_that_the_operators_make(installed: list[Object], tmp_path: Path) -> None:
    mounted = Mounted(installed, pods(installed)["api"], tmp_path)
    user = one(manifests("strimzi-kafka.yaml"), "KafkaUser")["metadata"]
    clickhouse = one(manifests("altinity-clickhouse.yaml"), "ClickHouseInstallation")["spec"]["configuration"]["users"]
    reference = clickhouse["meterport/password"]["valueFrom"]["secretKeyRef"]

    assert mounted.keys["METERPORT_KAFKA__SASL_PASSWORD"] == (user["name"], "password")
    assert mounted.keys["kafka.ssl_ca_location"] == (
        f"{user['labels']['strimzi.io/cluster']}-cluster-ca-cert",
        "ca.crt",
    )
    assert mounted.keys["METERPORT_STORE__PASSWORD"] == (reference["name"], reference["key"])
    assert f"{_config(installed)['store']['username']}/password" in clickhouse


def test_the_values_of_the_application_are_taken(tmp_path: Path) -> None:
    (application,) = manifests("argo-cd.yaml")
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(application["spec"]["source"]["helm"]["valuesObject"]))

    answer = template(values)
    assert answer.succeeded, answer.complaints
    assert (CHART.parent.parent / application["spec"]["source"]["path"]) == CHART
    assert "helm.sh/hook" not in answer.output
