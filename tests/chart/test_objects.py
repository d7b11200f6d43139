"""Every object is valid in each supported release of Kubernetes, and its names fit."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chart.rendering import CI_FILES, LEAST, both_helms, ci_files, helm, one, rendered, rendered_text
from tests.chart.schema import CHART
from tests.chart.tools import KUBE_SCORE
from tests.chart.validation import KUBERNETES, faults

# `make chart-quick` checks the oldest and the newest release only.
each_kubernetes = pytest.mark.parametrize(
    "kubernetes",
    [
        pytest.param(one, marks=[] if one in {KUBERNETES[0], KUBERNETES[-1]} else pytest.mark.thorough)
        for one in KUBERNETES
    ],
)
FULL = CHART / "ci" / "full.yaml"
LONGEST = "a-release-name-of-fifty-three-characters-is-the-limit"
OTHER = LONGEST[:-1] + "s"
NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
# What kube-score would have otherwise, and why the chart has it like this.
IGNORED = {
    "container-image-pull-policy": "a tag or a digest names the same image for ever",
    "pod-networkpolicy": "the policies are a value: the chart cannot know where ClickHouse and Kafka are",
    "deployment-has-host-podantiaffinity": "pods are spread by topologySpreadConstraints",
    "statefulset-has-host-podantiaffinity": "there is one pod",
    "statefulset-has-poddisruptionbudget": "it would block the drain of the node of the one pod",
    "deployment-has-poddisruptionbudget": "a file disables them",
    "deployment-replicas": "the files have deployments of one replica and of none",
    "service-type": "a file has a NodePort",
}
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")


@ci_files
@each_kubernetes
def test_every_object_is_valid(kubernetes: str, values: Path) -> None:
    found = rendered(values)

    assert [fault for obj in found for fault in faults(obj, kubernetes)] == []
    assert len({(obj["kind"], obj["metadata"]["name"]) for obj in found}) == len(found) > 3


@each_kubernetes
def test_an_unknown_field_of_kubernetes_is_found(kubernetes: str) -> None:
    deployment = one(rendered(LEAST), "Deployment", "-api")
    deployment["spec"]["template"]["spec"]["contaners"] = []

    assert len(faults(deployment, kubernetes)) == 1


@pytest.mark.parametrize("kind", ["HTTPRoute", "PodMonitor", "PrometheusRule"])
def test_an_unknown_field_of_an_operator_is_found(kind: str) -> None:
    obj = one(rendered(FULL), kind)
    obj["spec"]["unknown"] = 1

    assert len(faults(obj, "1.34")) == 1


def test_the_chart_says_which_kubernetes_it_is_for() -> None:
    """1.28 is the oldest release whose schemas are checked."""
    assert f'kubeVersion: ">={KUBERNETES[0]}.0-0"' in (CHART / "Chart.yaml").read_text(encoding="utf-8")


@pytest.mark.thorough
@ci_files
def test_kube_score_finds_nothing(values: Path) -> None:
    """It is run without what is a decision of the chart, or of the file of values."""
    ignored = [part for name in IGNORED for part in ("--ignore-test", name)]
    done = subprocess.run(
        [KUBE_SCORE, "score", "--output-format", "ci", "--ignore-container-cpu-limit", *ignored, "-"],
        input=rendered_text(values),
        capture_output=True,
        text=True,
        check=False,
    )

    lines = done.stdout.splitlines()
    assert len([line for line in lines if line.startswith("[OK]")]) > 5, done.stderr
    assert [line for line in lines if not line.startswith(("[OK]", "[SKIPPED]"))] == []


# names


@ci_files
@pytest.mark.parametrize("name", ["m", LONGEST, pytest.param("meterport", marks=pytest.mark.thorough)])
def test_names_and_labels_fit(name: str, values: Path) -> None:
    assert len(LONGEST) == 53
    for obj in rendered(values, name=name):
        made = obj["metadata"]["name"]
        # KEDA puts `keda-hpa-` before a name, and a StatefulSet a digest of 11 characters after it.
        longest = {"ScaledObject": 54, "StatefulSet": 52}.get(obj["kind"], 63)
        assert NAME.fullmatch(made)
        assert len(made) <= longest, made
        for labels in _labels(obj):
            assert [value for value in labels.values() if not LABEL.fullmatch(value) or len(value) > 63] == []


def _labels(value: Any) -> Iterator[dict[str, str]]:
    """Yield every map of labels in an object."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in {"labels", "matchLabels"} and all(isinstance(one, str) for one in inner.values()):
                yield inner
            yield from _labels(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _labels(inner)


@pytest.mark.parametrize("values", [file for file in CI_FILES if file != FULL], ids=lambda file: file.stem)
@pytest.mark.parametrize(
    "names", [pytest.param(("a", "b"), marks=pytest.mark.thorough), (LONGEST, OTHER)], ids=["short", "long"]
)
def test_two_releases_in_one_namespace_share_nothing(names: tuple[str, str], values: Path) -> None:
    """Their objects have other names, and no selector of one chooses pods of the other. FULL fixes the names."""
    first, second = (
        [o for o in rendered(values, name=name) if o["kind"] != "ServiceAccount" or o["metadata"]["name"] != "shared"]
        for name in names
    )

    both = {(o["kind"], o["metadata"]["name"]) for o in first} & {(o["kind"], o["metadata"]["name"]) for o in second}
    assert both == set()
    instances = {labels["app.kubernetes.io/instance"] for o in second for labels in _labels(o) if len(labels) > 1}
    assert instances == {names[1]}


# as a part of another chart


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """Return a chart that has Meterport's as a dependency, under two names."""
    chart = tmp_path / "parent"
    (chart / "charts").mkdir(parents=True)
    (chart / "templates").mkdir()
    (chart / "Chart.yaml").write_text(
        "apiVersion: v2\nname: parent\nversion: 1.0.0\ndependencies:\n"
        + "".join(
            f"  - {{name: meterport, version: 0.1.0, alias: {alias}, condition: {alias}.enabled}}\n"
            for alias in ("usage", "billing", "absent")
        )
    )
    (chart / "values.yaml").write_text(
        "global: {imageRegistry: mirror.example.com, other: {anything: 1}}\n"
        "usage: {enabled: true, mode: embedded, secrets: {api_key: {name: a, key: b}}}\n"
        "billing: {enabled: true, mode: embedded, secrets: {api_key: {name: a, key: b}}}\n"
        "absent: {enabled: false}\n"
    )
    packed = helm(4, "package", CHART, "--destination", chart / "charts")
    assert packed.succeeded, packed.complaints
    return chart


@both_helms
def test_the_chart_is_usable_as_a_part_of_another(release: int, parent: Path) -> None:
    found = rendered(chart=parent, release=release)

    names = sorted(o["metadata"]["name"] for o in found if o["kind"] == "StatefulSet")
    images = {o["spec"]["template"]["spec"]["containers"][0]["image"] for o in found if o["kind"] == "StatefulSet"}
    assert names == ["m-billing", "m-usage"]
    assert images == {"mirror.example.com/meterport-embedded:0.1.0"}


def test_a_packed_chart_has_the_alert_rules_and_not_the_values_of_tests(tmp_path: Path) -> None:
    """A package has no links: the rules themselves are in it."""
    assert helm(4, "package", CHART, "--destination", tmp_path).succeeded
    (package,) = tmp_path.glob("*.tgz")

    assert rendered(FULL, chart=package) == rendered(FULL)
    assert b"ci/" not in package.read_bytes()
    assert helm(4, "show", "values", package).output == (CHART / "values.yaml").read_text(encoding="utf-8") + "\n"
