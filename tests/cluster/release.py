"""Helm in the cluster: a release of the chart, and what is asked of it.

Source: helm.sh/docs "Helm Commands".
"""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.chart.tools import HELMS
from tests.cluster.control_plane import ControlPlane

_TIMEOUT = "300s"


class Release:
    """A release of a chart in one namespace. `helm`: the major version that the next command uses; `chart` likewise."""

    def __init__(self, plane: ControlPlane, chart: Path, name: str, namespace: str, helm: int = 4) -> None:
        self.name = name
        self.namespace = namespace
        self.chart = chart
        self.helm = helm
        self._plane = plane
        self._home = plane.logs.parent / "helm"
        self._home.mkdir(exist_ok=True)

    def install(self, values: Mapping[str, Any], *options: str) -> None:
        """Install the release. Args: options: `--wait` to return when its pods are ready. Raises: AssertionError."""
        self._run("install", *self._given(values), *options)

    def upgrade(self, values: Mapping[str, Any], *options: str) -> None:
        """Upgrade the release. Args: options: as for `install`. Raises: AssertionError."""
        self._run("upgrade", *self._given(values), *options)

    def refused_upgrade(self, values: Mapping[str, Any], *options: str) -> str:
        """Return what Helm says when it refuses an upgrade. Raises: AssertionError: it does not."""
        done = self._try("upgrade", *self._given(values), *options)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def rollback(self) -> None:
        """Go back to the revision before, and return when its pods are ready."""
        self._run("rollback", self.name, "--wait", "--timeout", _TIMEOUT)

    def test(self) -> str:
        """Run `helm test`, and return what its pod says. Raises: AssertionError: it found a fault."""
        return self._run("test", self.name, "--logs", "--timeout", _TIMEOUT)

    def failed_test(self) -> str:
        """Return what the pod of `helm test` says when it finds a fault. Raises: AssertionError: it finds none."""
        done = self._try("test", self.name, "--logs", "--timeout", _TIMEOUT)
        assert done.returncode != 0, done.stdout
        return done.stdout + done.stderr

    def uninstall(self) -> None:
        self._run("uninstall", self.name, "--wait", "--timeout", _TIMEOUT)

    def url(self) -> str:
        """Return the URL of the Service of the API, as every client in the cluster reaches it."""
        selector = f"app.kubernetes.io/instance={self.name}"
        services = self._plane.get("services", "--namespace", self.namespace, "--selector", selector)["items"]
        spec = next(each["spec"] for each in services if each["spec"]["clusterIP"] != "None")
        return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Return the pods of one component of the release."""
        selector = f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component={component}"
        return list(self._plane.get("pods", "--namespace", self.namespace, "--selector", selector)["items"])

    def deployment(self, component: str) -> dict[str, Any]:
        """Return the Deployment of one component of the release. Raises: ValueError: there is not exactly one."""
        selector = f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component={component}"
        [found] = self._plane.get("deployments", "--namespace", self.namespace, "--selector", selector)["items"]
        return dict(found)

    def said(self) -> str:
        """Return the state, the events and the logs of all pods of the namespace, for the message of a failure."""
        here = ("--namespace", self.namespace)
        parts = [
            self._plane.kubectl("get", "all", *here, "--output", "wide"),
            self._plane.kubectl("get", "events", *here, "--sort-by", ".lastTimestamp"),
        ]
        for pod in self._plane.get("pods", *here)["items"]:
            name = pod["metadata"]["name"]
            parts.append(f"--- {name}\n{self._plane.try_kubectl('logs', name, *here, '--tail', '40').stdout}")
        return "\n".join(parts)

    def _given(self, values: Mapping[str, Any]) -> list[str]:
        file = self._home / f"{self.name}.json"
        file.write_text(json.dumps(values))
        return [self.name, str(self.chart), "--values", str(file), "--timeout", _TIMEOUT]

    def _run(self, *arguments: str) -> str:
        done = self._try(*arguments)
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stdout}{done.stderr}\n{self.said()}"
        return done.stdout

    def _try(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        directories = {f"HELM_{name}_HOME": str(self._home) for name in ("CACHE", "CONFIG", "DATA")}
        return subprocess.run(
            [HELMS[self.helm], *arguments, "--namespace", self.namespace],
            env={**os.environ, **directories, "KUBECONFIG": str(self._plane.admin)},
            capture_output=True,
            text=True,
            check=False,
        )
