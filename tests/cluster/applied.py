"""The rendered chart, given to the API server twice: the second time nothing changes.

So a tool that applies the chart again and again, as Argo CD does, never sees a difference. It is every file of values
in deploy/chart/ci, each in a namespace of its own, with the definitions of the objects that operators read.
Limits: the node takes no pods meanwhile, because the images of these values exist nowhere; no operator runs.
Source: kubernetes.io/docs "Server-Side Apply".
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.chaos.recovery import wait_until
from tests.chart.tools import DEFINITIONS, HELMS
from tests.cluster import node
from tests.cluster.control_plane import ControlPlane
from tests.cluster.namespaces import make_namespace
from tests.cluster.progress import Report

_ACCOUNT = "shared"  # names that the files of values expect
_CLASS = "high"


def show(plane: ControlPlane, chart: Path, report: Report) -> None:
    """Raises: AssertionError: an object is refused, or differs after the second time."""
    plane.kubectl("cordon", node.NAME)
    _define(plane)
    kinds: set[str] = set()
    files = sorted((chart / "ci").glob("*.yaml"))
    for file in files:
        namespace = f"applied-{file.stem}"
        make_namespace(plane, namespace)
        plane.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": _ACCOUNT, "namespace": namespace}}
        )
        text = _rendered(chart, file, namespace)
        plane.kubectl("apply", "--server-side", "--filename", "-", given=text)
        before = _settled(plane, text)
        plane.kubectl("apply", "--server-side", "--filename", "-", given=text)
        after = _objects(plane, text)
        changes = [
            change
            for one, other in zip(before, after, strict=True)
            for change in _changes(one, other, f"{one['kind']} {one['metadata']['name']}")
        ]
        assert changes == [], f"{file.name}: {changes}"
        kinds |= {each["kind"] for each in after}
        plane.kubectl("delete", "namespace", namespace, "--wait=false")
    plane.kubectl("uncordon", node.NAME)
    report(f"{len(files)} sets of values, with {len(kinds)} kinds of objects, applied twice: no change the second time")


def _define(plane: ControlPlane) -> None:
    """Teach the API server the kinds of KEDA, the Gateway API and the Prometheus operator."""
    files = sorted(DEFINITIONS.glob("*.yaml"))
    assert files, f"no definitions in {DEFINITIONS}"
    for file in files:
        plane.kubectl("apply", "--server-side", "--filename", str(file))
    wait_until(lambda: all(_is_served(plane, file) for file in files), "the API server does not serve the new kinds")
    metadata = {"name": _CLASS}
    plane.apply({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": metadata, "value": 1})


def _is_served(plane: ControlPlane, definition: Path) -> bool:
    conditions = plane.get("--filename", str(definition)).get("status", {}).get("conditions") or ()
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


def _rendered(chart: Path, values: Path, namespace: str) -> str:
    command = [str(HELMS[4]), "template", "meterport", str(chart), "--values", str(values), "--namespace", namespace]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _settled(plane: ControlPlane, text: str) -> list[dict[str, Any]]:
    """Return the objects once the controllers have seen them and have added what they add."""
    wait_until(lambda: _objects(plane, text) == _objects(plane, text) and _is_observed(plane, text), "no rest")
    return _objects(plane, text)


def _is_observed(plane: ControlPlane, text: str) -> bool:
    """Return whether the controllers of workloads have seen them, and autoscalers have scaled them to their minimum."""
    for one in _read(plane, text):
        status = one.get("status", {})
        if one["kind"] in {"Deployment", "StatefulSet"} and (
            status.get("observedGeneration") != one["metadata"]["generation"]
        ):
            return False
        if one["kind"] == "HorizontalPodAutoscaler" and status.get("currentReplicas", 0) < one["spec"]["minReplicas"]:
            return False
    return True


def _objects(plane: ControlPlane, text: str) -> list[dict[str, Any]]:
    """Return the objects without their status, and without who changed it when; with who changed everything else."""
    objects = _read(plane, text)
    for one in objects:
        one.pop("status", None)
        metadata = one["metadata"]
        del metadata["resourceVersion"]  # that of the status, too
        metadata["managedFields"] = [
            each for each in metadata.get("managedFields", ()) if each.get("subresource", "") != "status"
        ]
    return objects


def _read(plane: ControlPlane, text: str) -> list[dict[str, Any]]:
    found = plane.get("--filename", "-", "--show-managed-fields", given=text)
    return list(found["items"])


def _changes(before: Any, after: Any, path: str) -> Iterator[str]:
    """Yield the path of each part that has changed, with both values."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted(before.keys() | after.keys()):
            yield from _changes(before.get(name), after.get(name), f"{path}.{name}")
    elif before != after:
        yield f"{path}: {before} became {after}"
