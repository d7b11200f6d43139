"""Helm 3 and Helm 4 accept and render the chart for every file in deploy/chart/ci, and refuse what cannot work."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import (
    CI_FILES,
    LEAST,
    LEAST_EMBEDDED,
    REFUSED_FILES,
    both_helms,
    ci_files,
    expected_message,
    helm,
    one,
    parsed,
    rendered,
    rendered_text,
    template,
    template_anew,
)
from tests.chart.schema import CHART, own_paths
from tests.chart.tools import HELMS
from tests.chart.validation import faults


@pytest.mark.thorough
@ci_files
@pytest.mark.parametrize("release", HELMS)
def test_lint_accepts_the_chart(release: int, values: Path) -> None:
    answer = helm(release, "lint", "--strict", CHART, "--values", values)

    assert answer.succeeded, answer.output + answer.complaints


@ci_files
def test_both_helms_render_the_same(values: Path) -> None:
    assert rendered(values, release=3) == rendered(values, release=4)


@ci_files
@both_helms
def test_the_same_values_give_the_same_text_again(release: int, values: Path) -> None:
    assert template_anew(values, release=release).output == rendered_text(values, release=release)


def test_no_template_asks_the_cluster_or_chance() -> None:
    """A function of this kind may give the same text by chance here, and another one in Argo CD."""
    found = [
        (file.name, word)
        for file in sorted((CHART / "templates").rglob("*.*"))
        for word in re.findall(r"\b(lookup|rand\w+|gen[A-Z]\w+|uuidv4|now|htpasswd|bcrypt)\b", _actions(file))
    ]

    assert found == []


def _actions(file: Path) -> str:
    return " ".join(re.findall(r"{{(?!/\*)(?!- /\*)(.*?)}}", file.read_text(encoding="utf-8"), re.DOTALL))


@pytest.mark.parametrize("values", REFUSED_FILES, ids=lambda file: file.stem)
@both_helms
def test_what_cannot_work_is_refused_with_what_to_do(release: int, values: Path) -> None:
    answer = template(values, release=release)

    assert not answer.succeeded
    # Helm 3 and Helm 4 word what the schema refuses in different ways: one of them after the bar.
    assert [message for message in expected_message(values).split(" | ") if message in answer.complaints] != []


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ("config.server.host=127.0.0.2", "- config.server.host is loopback"),
        ("config.server.host=0:0::1", "- config.server.host is loopback"),
        ("image.registry=registry.example.com/", "- image: registry.example.com//meterport:0.1.0 cannot be the name"),
        ("image.tag=a b", "- image: meterport:a b cannot be the name"),
        (
            "ingress.hosts[0].host=a,ingress.hosts[0].paths[0].path=api",
            "- at '/ingress/hosts/0/paths/0/path': 'api' does",
        ),
        ("monitoring.rules.enabled=true,monitoring.interval=0s", "- monitoring.interval is 0s"),
        (
            "service.externalTrafficPolicy=Local",
            "- service.externalTrafficPolicy is set, but service.type is ClusterIP",
        ),
        (
            "service.type=NodePort,service.loadBalancerClass=a",
            "- service.loadBalancerClass is set, but service.type is",
        ),
        (
            "api.extraEnv[0].name=METERPORT_SECRETS_DIR,api.extraEnv[0].value=$(A)",
            "- api.extraEnv: METERPORT_SECRETS_DIR",
        ),
    ],
)
def test_another_form_of_what_cannot_work_is_refused(sets: str, message: str) -> None:
    assert f"\n{message}" in template(LEAST, sets=sets).complaints


def test_a_release_whose_name_no_service_can_have_is_refused() -> None:
    assert "- the objects would be named my.usage-meterport, but" in template(LEAST, name="my.usage").complaints


def test_every_guard_is_seen_by_a_file_of_refused_values() -> None:
    text = (CHART / "templates" / "_faults.tpl").read_text(encoding="utf-8")
    guards = [line for line in text.splitlines() if line.startswith("- ")]
    seen = {line for file in REFUSED_FILES for line in template(file).complaints.splitlines()}

    assert len(guards) > 30
    assert [guard for guard in guards if not any(_pattern(guard).fullmatch(line) for line in seen)] == []


def _pattern(guard: str) -> re.Pattern[str]:
    """Return what a guard's line looks like, with any text in the place of its actions."""
    return re.compile(".*".join(map(re.escape, re.split(r"{{.*?}}", guard))))


def test_all_faults_are_reported_at_once() -> None:
    complaints = template().complaints

    assert complaints.count("\n- ") == 4
    assert "config.store.url" in complaints
    assert "config.kafka.brokers" in complaints


def test_a_group_of_settings_that_is_removed_is_named() -> None:
    complaints = template(LEAST, sets="config.server=null").complaints

    assert "these values cannot work" in complaints
    assert "- config.server.host is loopback" in complaints


def test_every_value_is_set_by_a_file() -> None:
    given = {path for file in CI_FILES for path in _paths(yaml.safe_load(file.read_text(encoding="utf-8")))}
    own = set(own_paths())

    assert len(own) > 100
    assert sorted(own - given) == []


def _paths(values: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if before:
        yield before
    if isinstance(values, dict):
        for name, inner in values.items():
            yield from _paths(inner, (*before, name))


@pytest.mark.thorough
@pytest.mark.parametrize("first", sorted({path[0] for path in own_paths()}))
def test_a_value_that_is_removed_is_refused_or_not_needed(first: str) -> None:
    """Helm removes a value that is null: a template must not fail in the middle of its work then."""
    for path in [path for path in own_paths() if path[0] == first]:
        answer = template(CHART / "ci" / "full.yaml", sets=f"{'.'.join(path)}=null")
        if answer.succeeded:
            assert [fault for obj in parsed(answer.output) for fault in faults(obj, "1.34")] == [], path
        else:
            assert re.search("these values cannot work|don't meet the specifications", answer.complaints), path


def test_a_text_that_yaml_reads_as_something_else_stays_a_text(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    names = {"fullnameOverride": "no", "nameOverride": "1e3", "serviceAccount": {"name": "off"}}
    paths = [{"path": "/a: b #c"}]
    routes = {"ingress": {"enabled": True, "className": "on", "hosts": [{"host": "null", "paths": paths}]}}
    values.write_text(json.dumps(names | routes | {"monitoring": {"dashboard": {"enabled": True}}}))

    answer = helm(4, "template", "yes", CHART, "--namespace", "1234", "--values", LEAST, "--values", values)

    assert answer.succeeded, answer.complaints
    assert [fault for obj in parsed(answer.output) for fault in faults(obj, "1.34")] == []
    assert {obj["metadata"]["namespace"] for obj in parsed(answer.output)} == {"1234"}


def test_the_alert_rules_are_those_of_the_project() -> None:
    rule = one(rendered(CHART / "ci" / "full.yaml"), "PrometheusRule")

    assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert rule["spec"] == yaml.safe_load((CHART.parent / "alerts.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("file", "labels"),
    [("full", {"dashboards": "billing", "grafana_dashboard": "1"}), ("embedded-full", {"grafana_dashboard": "1"})],
)
def test_the_dashboard_is_that_of_the_project(file: str, labels: dict[str, str]) -> None:
    dashboard = one(rendered(CHART / "ci" / f"{file}.yaml"), "ConfigMap", "-dashboard")
    (text,) = dashboard["data"].values()

    assert labels.items() <= dashboard["metadata"]["labels"].items()
    assert text == (CHART.parent / "dashboard.json").read_text(encoding="utf-8")


def test_nothing_for_an_operator_or_a_dashboard_is_made_by_default() -> None:
    """Its kind may not exist in the cluster."""
    for values in (LEAST, LEAST_EMBEDDED):
        assert {o["apiVersion"] for o in rendered(values)} <= {"v1", "apps/v1", "policy/v1"}
        assert len([o for o in rendered(values) if o["kind"] == "ConfigMap"]) == 1


@pytest.mark.parametrize("monitor", ["PodMonitor", "ServiceMonitor"])
def test_the_jobs_that_monitors_make_are_those_of_the_alert_rules(monitor: str) -> None:
    file = "full.yaml" if monitor == "PodMonitor" else "keda.yaml"
    spec = one(rendered(CHART / "ci" / file), monitor)["spec"]
    (endpoint,) = spec.get("podMetricsEndpoints") or spec["endpoints"]
    job = endpoint["relabelings"][0]["replacement"].replace("$1", "ingest")
    (matched,) = re.findall(r'up{job=~"(.*?)"}', (CHART.parent / "alerts.yaml").read_text(encoding="utf-8"))

    assert re.fullmatch(matched, job)


@pytest.mark.parametrize(
    ("values", "commands"),
    [
        (
            LEAST,
            [
                "kubectl -n usage wait --for=condition=Available",
                "kubectl -n usage port-forward service/m-meterport 8888:8888",
                "METERPORT_API_KEY=$(kubectl -n usage get secret meterport -o "
                "go-template='{{index .data \"api-key\" | base64decode}}')",
                "curl -i http://127.0.0.1:8888/",
            ],
        ),
        (
            LEAST_EMBEDDED,
            ["kubectl -n usage rollout", "kubectl -n usage port-forward service/m-meterport 8888:8888", "curl"],
        ),
        # Only root could listen on the port of this Service.
        (CHART / "ci" / "full.yaml", ["kubectl -n usage port-forward service/usage-metering 8888:80", "curl"]),
    ],
    ids=["distributed", "embedded", "another-port"],
)
def test_the_notes_give_the_next_three_commands(values: Path, commands: list[str]) -> None:
    """Helm 3 renders the notes only if it reaches a cluster."""
    answer = helm(4, "install", "m", CHART, "--namespace", "usage", "--values", values, "--dry-run=client")

    notes = answer.output.partition("NOTES:")[2]
    found = [line.strip() for line in notes.splitlines() if line.startswith("    ")]
    assert answer.succeeded, answer.complaints
    assert [command for command in commands if not any(line.startswith(command) for line in found)] == []


def test_labels_of_the_charts_user_are_in_no_selector() -> None:
    """A selector cannot be changed later."""
    plain, labelled = rendered_text(LEAST), rendered_text(LEAST, sets="commonLabels.team=billing")
    selectors = [
        [o["spec"]["selector"]["matchLabels"] for o in parsed(text) if o["kind"] == "Deployment"]
        for text in (plain, labelled)
    ]

    assert selectors[0] == selectors[1]
    assert labelled.count("team: billing") > len(selectors[1])
