"""The manifests of deploy/examples are what the operators accept, and the values beside them fit to them."""

import re
from collections.abc import Callable
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
OPERATORS = ("strimzi-kafka.yaml", "altinity-clickhouse.yaml", "clickhouse-operator.yaml")


def manifests(name: str) -> list[Object]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def installed() -> list[Object]:
    """Return the objects of a release with the values of examples."""
    return release("altinity")


def release(clickhouse: str) -> list[Object]:
    """Return the objects of a release. Args: clickhouse: the beginning of the file of values for ClickHouse."""
    return rendered(*(EXAMPLES / f"{name}-values.yaml" for name in ("strimzi", clickhouse, "keys")))


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

    needed = {right for cell in table["topic of events"][:2] for right in cell.split(", ")}
    assert given["topic"] == needed | {"DescribeConfigs"}  # with which `helm test` checks the options of the topic
    assert given["group"] == set(table["group"][1].split(", "))
    assert named == {"topic": _config(installed)["kafka"]["topic"], "group": "meterport"}


def test_the_secrets_of_kafka_are_those_that_strimzi_makes(installed: list[Object], tmp_path: Path) -> None:
    mounted = Mounted(installed, pods(installed)["api"], tmp_path)
    user = one(manifests("strimzi-kafka.yaml"), "KafkaUser")["metadata"]

    assert mounted.keys["METERPORT_KAFKA__SASL_PASSWORD"] == (user["name"], "password")
    cluster = user["labels"]["strimzi.io/cluster"]
    assert mounted.keys["kafka.ssl_ca_location"] == (f"{cluster}-cluster-ca-cert", "ca.crt")
    assert _config(installed)["kafka"]["sasl_username"] == user["name"]


def _user_of_altinity() -> tuple[Any, str]:
    installation = one(manifests("altinity-clickhouse.yaml"), "ClickHouseInstallation")
    users = installation["spec"]["configuration"]["users"]
    assert users["meterport/grants/query"] == ["GRANT ALL ON meterport.*"]
    return users["meterport/password"]["valueFrom"], f"clickhouse-{installation['metadata']['name']}"


def _user_of_clickhouse() -> tuple[Any, str]:
    cluster = one(manifests("clickhouse-operator.yaml"), "ClickHouseCluster")
    user = cluster["spec"]["settings"]["extraUsersConfig"]["users"]["meterport"]
    (variable,) = cluster["spec"]["containerTemplate"]["env"]
    assert user["password"] == [{"@from_env": variable["name"]}]
    assert user["grants"] == [{"query": "GRANT ALL ON meterport.*"}]
    return variable["valueFrom"], f"{cluster['metadata']['name']}-clickhouse-headless"


@pytest.mark.parametrize(
    ("values", "user"), [("altinity", _user_of_altinity), ("clickhouse-operator", _user_of_clickhouse)]
)
def test_the_password_of_clickhouse_is_the_one_that_its_operator_takes(
    values: str, user: Callable[[], tuple[Any, str]], tmp_path: Path
) -> None:
    objects = release(values)
    store = _config(objects)["store"]
    source, host = user()
    reference = source["secretKeyRef"]

    assert store == {"url": f"http://{host}:8123", "username": "meterport"}
    keys = Mounted(objects, pods(objects)["api"], tmp_path).keys
    assert keys["METERPORT_STORE__PASSWORD"] == (reference["name"], reference["key"])


@pytest.mark.parametrize("name", ["altinity-clickhouse", "clickhouse-operator"])
def test_there_is_one_clickhouse_server(name: str) -> None:
    """Meterport stores in one server; without these numbers an operator may start several."""
    spec = manifests(f"{name}.yaml")[-1]["spec"]
    layout = spec["configuration"]["clusters"][0]["layout"] if "configuration" in spec else spec

    assert {key: layout[key] for key in layout if key.startswith(("shards", "replicas"))} in (
        {"shardsCount": 1, "replicasCount": 1},
        {"shards": 1, "replicas": 1},
    )


def test_the_values_of_the_application_are_taken(tmp_path: Path) -> None:
    (application,) = manifests("argo-cd.yaml")
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(application["spec"]["source"]["helm"]["valuesObject"]))

    answer = template(values)
    assert answer.succeeded, answer.complaints
    assert (CHART.parent.parent / application["spec"]["source"]["path"]) == CHART
    # Without a registry every node would look for the image in its default one, where nobody has pushed it.
    assert set(re.findall(r'image: "(.*?)/', answer.output)) == {"registry.example.com"}
    assert re.findall(r"helm.sh/hook: (.*)", answer.output) == ["test"]
