"""Helm in the cluster: a release of the chart, and what is asked of it.

Source: helm.sh/docs "Helm Commands".
"""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cluster.control_plane import ControlPlane

_TIMEOUT = "300s"


class Release:
    """A release of the chart in one namespace. `values`: those of the last command."""

    def __init__(self, plane: ControlPlane, helm: Path, chart: Path, name: str, namespace: str) -> None:
        self.name = name
        self.namespace = namespace
        self.values: dict[str, Any] = {}
        self._plane = plane
        self._helm = helm
        self._chart = chart
        self._home = plane.logs.parent / "helm"
        self._home.mkdir(exist_ok=True)

    def install(self, values: Mapping[str, Any]) -> None:
        """Install the release, and return when its pods are ready. Raises: AssertionError: they are not."""
        self._change("install", values, "--wait")

    def upgrade(self, values: Mapping[str, Any], *options: str) -> None:
        """Upgrade the release. Args: options: `--wait` to return when the new pods are ready."""
        self._change("upgrade", values, *options)

    def rollback(self) -> None:
        """Go back to the revision before, and return when its pods are ready."""
        self._run("rollback", self.name, "--wait", "--timeout", _TIMEOUT)

    def test(self) -> str:
        """Run `helm test`, and return what its pod says. Raises: AssertionError: it found a fault."""
        return self._run("test", self.name, "--logs", "--timeout", _TIMEOUT)

    def uninstall(self) -> None:
        self._run("uninstall", self.name, "--wait", "--timeout", _TIMEOUT)

    def url(self, service: str = "") -> str:
        """Return the URL of a Service, by default of the API, as every client in the cluster reaches it."""
        spec = self._plane.get("service", service or self.name, "--namespace", self.namespace)["spec"]
        return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"

    def pods(self, component: str = "") -> list[dict[str, Any]]:
        """Return the pods of the release, or those of one component."""
        selector = f"app.kubernetes.io/instance={self.name}"
        if component:
            selector += f",app.kubernetes.io/component={component}"
        found = self._plane.get("pods", "--namespace", self.namespace, "--selector", selector)
        return list(found["items"])

    def said(self) -> str:
        """Return the state, the events and the logs of all pods, for the message of a failure."""
        here = ("--namespace", self.namespace)
        parts = [
            self._plane.kubectl("get", "all", *here, "--output", "wide"),
            self._plane.kubectl("get", "events", *here, "--sort-by", ".lastTimestamp"),
        ]
        for pod in self.pods():
            name = pod["metadata"]["name"]
            parts.append(f"--- {name}\n{self._plane.try_kubectl('logs', name, *here, '--tail', '40').stdout}")
        return "\n".join(parts)

    def _change(self, command: str, values: Mapping[str, Any], *options: str) -> None:
        self.values = dict(values)
        file = self._home / f"{self.name}.json"
        file.write_text(json.dumps(self.values))
        self._run(command, self.name, str(self._chart), "--values", str(file), "--timeout", _TIMEOUT, *options)

    def _run(self, *arguments: str) -> str:
        directories = {f"HELM_{name}_HOME": str(self._home) for name in ("CACHE", "CONFIG", "DATA")}
        done = subprocess.run(
            [self._helm, *arguments, "--namespace", self.namespace],
            env={**os.environ, **directories, "KUBECONFIG": str(self._plane.admin)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stdout}{done.stderr}\n{self.said()}"
        return done.stdout
