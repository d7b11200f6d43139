"""How pods run, are replaced, scaled and ended."""

from pathlib import Path
from typing import Any

import pytest

from tests.chart.rendering import LEAST, LEAST_EMBEDDED, Object, all_pods, ci_files, one, pods, rendered
from tests.chart.schema import CHART

CI = CHART / "ci"


@ci_files
def test_every_pod_keeps_the_restricted_profile(values: Path) -> None:
    """Source: Kubernetes' Pod Security Standards, profile Restricted."""
    for pod in all_pods(rendered(values)).values():
        spec = pod["spec"]
        (container,) = spec["containers"]
        context, own = spec["securityContext"], container["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] >= 10_000
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert own["readOnlyRootFilesystem"] is True
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        allowed = {"configMap", "projected", "emptyDir", "persistentVolumeClaim"}
        assert [volume for volume in spec["volumes"] if not set(volume) - {"name"} <= allowed] == []


@ci_files
def test_every_pod_is_without_the_clusters_gifts(values: Path) -> None:
    """Neither the variables of Services nor a token for the API server: Meterport needs neither."""
    objects = rendered(values)
    for pod in all_pods(objects).values():
        assert pod["spec"]["enableServiceLinks"] is False
        assert pod["spec"]["automountServiceAccountToken"] is False
    accounts = [o for o in objects if o["kind"] == "ServiceAccount"]
    assert [o for o in accounts if o["automountServiceAccountToken"] is not False] == []


@ci_files
def test_no_variable_is_given_twice(values: Path) -> None:
    """A server-side apply refuses that."""
    for pod in pods(rendered(values)).values():
        names = [variable["name"] for variable in pod["spec"]["containers"][0]["env"]]
        assert len(names) == len({*names})


@pytest.mark.parametrize(
    ("values", "command", "ready"),
    [
        (LEAST, "api", "/readyz?for=any"),
        (LEAST, "ingest", "/readyz"),
        (LEAST_EMBEDDED, "serve", "/readyz?for=any"),
    ],
)
def test_probes_ask_the_telemetry_port(values: Path, command: str, ready: str) -> None:
    (container,) = pods(rendered(values))[command]["spec"]["containers"]
    asked = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}

    assert {"name": "telemetry", "containerPort": 8889, "protocol": "TCP"} in container["ports"]
    assert asked == {
        "startupProbe": {"path": "/livez", "port": "telemetry"},
        "livenessProbe": {"path": "/livez", "port": "telemetry"},
        "readinessProbe": {"path": ready, "port": "telemetry"},
    }


def test_a_new_api_pod_comes_first_and_a_new_ingest_pod_last() -> None:
    objects = rendered(LEAST)
    updates = {
        name: one(objects, "Deployment", name)["spec"]["strategy"]["rollingUpdate"] for name in ("-api", "-ingest")
    }

    assert updates == {
        "-api": {"maxSurge": 1, "maxUnavailable": 0},
        "-ingest": {"maxSurge": 0, "maxUnavailable": 1},
    }


def test_another_configuration_replaces_the_pods() -> None:
    before, after = (
        {command: pod["metadata"]["annotations"] for command, pod in pods(rendered(LEAST, sets=sets)).items()}
        for sets in ("", "config.log_level=debug")
    )

    assert [command for command in before if before[command] == after[command]] == []


@ci_files
def test_what_scales_a_deployment_is_alone_in_doing_so(values: Path) -> None:
    objects = rendered(values)
    scaled = [
        o["spec"]["scaleTargetRef"]["name"] for o in objects if o["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"}
    ]
    without = [o["metadata"]["name"] for o in objects if o["kind"] == "Deployment" and "replicas" not in o["spec"]]

    assert sorted(scaled) == sorted(without)


@ci_files
def test_no_budget_blocks_a_drain(values: Path) -> None:
    for budget in _budgets(rendered(values)).values():
        assert budget["maxUnavailable"] == 1
        assert "minAvailable" not in budget
        assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize(
    ("values", "sets", "expected"),
    [
        (LEAST, "", {"m-meterport-api", "m-meterport-ingest"}),
        (LEAST, "api.replicas=1", {"m-meterport-ingest"}),
        (LEAST, "api.replicas=1,api.autoscaling.enabled=true", {"m-meterport-api", "m-meterport-ingest"}),
        (LEAST, "ingest.podDisruptionBudget.enabled=false", {"m-meterport-api"}),
        (LEAST_EMBEDDED, "", set()),
    ],
)
def test_a_single_replica_has_no_budget(values: Path, sets: str, expected: set[str]) -> None:
    assert set(_budgets(rendered(values, sets=sets))) == expected


def _budgets(objects: list[Object]) -> dict[str, Any]:
    return {o["metadata"]["name"]: o["spec"] for o in objects if o["kind"] == "PodDisruptionBudget"}


@ci_files
def test_every_selector_chooses_pods_of_the_chart(values: Path) -> None:
    objects = rendered(values)
    labels = [pod["metadata"]["labels"] for pod in all_pods(objects).values()]
    services = [o["metadata"]["labels"] for o in objects if o["kind"] == "Service"]
    for obj in objects:
        selector = _selector(obj)
        if selector is not None:
            candidates = services if obj["kind"] == "ServiceMonitor" else labels
            assert any(selector.items() <= chosen.items() for chosen in candidates), obj["metadata"]["name"]


def _selector(obj: Object) -> dict[str, str] | None:
    spec = obj.get("spec", {})
    found = spec.get("podSelector") or spec.get("selector")
    return found.get("matchLabels", found) if found else None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (LEAST, "meterport:0.1.0"),
        (LEAST_EMBEDDED, "meterport-embedded:0.1.0"),
        (CI / "keda.yaml", "registry.example.com/meterport:0.1.0"),
        (CI / "full.yaml", "registry.example.com/mirror/billing/meterport@sha256:" + "0123456789abcdef" * 4),
    ],
)
def test_the_image_is_named_by_registry_and_digest(values: Path, expected: str) -> None:
    assert {pod["spec"]["containers"][0]["image"] for pod in pods(rendered(values)).values()} == {expected}


def test_the_embedded_store_is_in_the_volume() -> None:
    objects = rendered(LEAST_EMBEDDED)
    (container,) = pods(objects)["serve"]["spec"]["containers"]
    spec = one(objects, "StatefulSet")["spec"]

    assert "data_dir: /var/lib/meterport\n" in one(objects, "ConfigMap")["data"]["config.yaml"]
    assert {"name": "data", "mountPath": "/var/lib/meterport"} in container["volumeMounts"]
    assert spec["volumeClaimTemplates"][0]["spec"]["resources"] == {"requests": {"storage": "20Gi"}}
    assert (spec["replicas"], spec["podManagementPolicy"]) == (1, "Parallel")
    assert one(objects, "Service", spec["serviceName"])["spec"]["clusterIP"] == "None"


def test_a_volume_that_exists_is_used() -> None:
    spec = one(rendered(CI / "embedded-kafka.yaml"), "StatefulSet")["spec"]

    assert "volumeClaimTemplates" not in spec
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "old-data"}} in spec["template"]["spec"]["volumes"]
