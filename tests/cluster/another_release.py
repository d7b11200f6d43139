"""Another release in the same namespace, with everything wrong that a first installation can have, and with Helm 3.

Owns: one story: the release of an older chart is installed by Helm 3 with a name as long as Helm allows, while a key
of its Secret is missing and neither ClickHouse nor Kafka answers. It goes on by itself as each is repaired. Its API is
then scaled by an autoscaler, and Helm 4 upgrades it to the current chart.
Source: helm.sh/docs "Helm 4 Overview" (server-side apply).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from engine import __version__
from tests.chaos.recovery import wait_until
from tests.cluster import charts
from tests.cluster.distributed import NAMESPACE, Distributed
from tests.cluster.namespaces import KEY, TOKEN_KEYS, has_event, make_secret
from tests.cluster.progress import Report
from tests.cluster.release import Release

_NAME = "another-release-with-a-name-that-is-as-long-as-helm-t"  # 53 characters
_OWN = "another"  # its Secret, database, topic and group
_SCALED = 3
_SECONDS = 300


class AnotherRelease:
    """The release. `run`: the other one, whose services it uses, too."""

    def __init__(self, run: Distributed, chart: Path, directory: Path, report: Report) -> None:
        self._plane = run.plane
        self._report = report
        self._chart = chart
        self._release = Release(run.plane, charts.older(chart, directory), _NAME, NAMESPACE, helm=3)
        self._values = run.values(__version__, _OWN)
        self._values["config"]["server"] = {"drain_seconds": 0}  # nothing is asked of it, so its pods may end at once
        self._values["ingest"]["replicas"] = 1
        self._values["api"]["autoscaling"] = {"enabled": True, "minReplicas": 2, "maxReplicas": 6}

    def install(self) -> None:
        """Install it with a Secret that lacks a key, and then with it, while no service answers."""
        assert len(_NAME) == 53
        make_secret(self._plane, NAMESPACE, _OWN, api_key=KEY)
        self._release.install(self._values)
        missing = "references non-existent secret key: token-keys"
        wait_until(lambda: has_event(self._plane, NAMESPACE, missing), f"no event says {missing}", _SECONDS)
        make_secret(self._plane, NAMESPACE, _OWN, api_key=KEY, token_keys=TOKEN_KEYS)
        wait_until(lambda: "store" in self._away("api") & self._away("ingest"), "no pod says what is away", _SECONDS)
        restarts = [each["restartCount"] for pod in self._pods() for each in pod["status"]["containerStatuses"]]
        assert restarts == [0] * len(restarts), f"{restarts} restarts without ClickHouse and Kafka"
        self._report("Helm 3 installed a release with 53 characters; its pods wait for a key, then for ClickHouse")

    def wait_until_ready(self) -> None:
        """Wait until its pods have found the services, which somebody has started now."""
        wait_until(lambda: self._ready("api") == 2 and self._ready("ingest") == 1, "the pods do not go on", _SECONDS)
        self._report("its pods went on by themselves when ClickHouse and Kafka answered")

    def upgrade(self) -> None:
        """Scale its API as an autoscaler does, and upgrade it by Helm 4, each way, and back."""
        api = self._release.deployment("api")["metadata"]["name"]
        self._plane.kubectl("scale", "deployment", api, f"--replicas={_SCALED}", "--namespace", NAMESPACE)
        wait_until(lambda: self._ready("api") == _SCALED, "the API is not scaled", _SECONDS)
        self._release.helm, self._release.chart = 4, self._chart
        refused = self._release.refused_upgrade({}, "--reuse-values")
        assert "missing property" in refused and charts.NEW in refused, refused
        self._report("--reuse-values is refused if the chart has a new value: the message names it")
        self._step("Helm 4 upgraded it", lambda: self._release.upgrade({}, "--reset-then-reuse-values", "--wait"))
        server_side = ("--server-side=true", "--wait")
        self._values["config"]["log_level"] = "debug"
        self._step("Helm 4 upgraded it in the server", lambda: self._release.upgrade(self._values, *server_side))
        self._step("Helm 4 rolled it back", self._release.rollback)

    def uninstall(self) -> None:
        self._release.uninstall()
        self._report("it was uninstalled; the other release goes on")

    def _step(self, what: str, change: Callable[[], None]) -> None:
        """Raises: AssertionError: Helm found a conflict, or the number of pods is not what it was scaled to."""
        change()
        replicas = self._release.deployment("api")["spec"]["replicas"]
        assert replicas == _SCALED, f"{what}: {replicas} replicas instead of {_SCALED}"
        self._report(f"{what}: no conflict, and the API still has the {_SCALED} pods that it was scaled to")

    def _away(self, component: str) -> set[str]:
        """Return what all pods of a component say is unavailable, or nothing if one of them does not answer."""
        names: list[set[str]] = []
        for pod in self._release.pods(component):
            try:
                answer = httpx.get(f"http://{pod['status'].get('podIP', '')}:8889/readyz", timeout=5)
            except (httpx.TransportError, httpx.InvalidURL, httpx.UnsupportedProtocol):
                return set()
            if answer.status_code != 503:
                return set()
            names.append({each["name"] for each in answer.json()["extensions"]["away"]})
        return set.intersection(*names) if names else set()

    def _ready(self, component: str) -> int:
        return int(self._release.deployment(component)["status"].get("readyReplicas", 0))

    def _pods(self) -> list[dict[str, Any]]:
        return [pod for component in ("api", "ingest") for pod in self._release.pods(component)]
