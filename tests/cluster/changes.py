"""What happens to a release under load: upgrades, a rollback, drains, kills, a store that is away, a broken upgrade.

Owns: one function for each. Those of planned changes raise an error if one request fails; the others only need that in
the end nothing is lost or doubled, which tests/cluster/distributed.py compares.
"""

import json
import threading
import time
from random import Random
from typing import Any

from tests.chaos.recovery import wait_until
from tests.cluster.distributed import Distributed
from tests.cluster.load import Load
from tests.cluster.node import Node
from tests.cluster.progress import Report

_SECONDS = 240
AWAY_SECONDS = 60


class Changes:
    """Changes of one release under one load. `base`: the tag of its image, which upgrades give other names."""

    def __init__(self, run: Distributed, load: Load, node: Node, base: str, report: Report) -> None:
        self._run = run
        self._load = load
        self._node = node
        self._base = base
        self._report = report
        self._tags = 0
        self._chance = Random(1)  # noqa: S311 - reproducible, not secret

    def upgrades(self, number: int) -> None:
        for turn in range(number):
            with self._load.planned(f"upgrade {turn + 1}"):
                self._upgrade("--wait")
            self._report(f"upgrade {turn + 1} of {number}: no request failed")

    def rollback(self) -> None:
        with self._load.planned("rollback"):
            self._run.release.rollback()
            self.wait_until_whole()
        self._report("rollback: no request failed")

    def drain(self) -> None:
        """Evict every pod once, one after the other, as `kubectl drain` does on each node of a larger cluster."""
        with self._load.planned("drain"):
            for pod in self._pods():
                self._evict(pod["metadata"]["name"])
                self.wait_until_whole()
        self._report("every pod was evicted: no request failed")

    def kills(self, number: int) -> None:
        """Kill pods at random, each without a grace period."""
        for _ in range(number):
            pods = [pod for pod in self._pods() if "deletionTimestamp" not in pod["metadata"]]
            name = self._chance.choice(pods)["metadata"]["name"]
            here = ("--namespace", self._run.release.namespace)
            self._run.plane.kubectl("delete", "pod", name, *here, "--grace-period=0", "--force", "--wait=false")
            time.sleep(self._chance.uniform(1, 4))
        self.wait_until_whole()
        self._report(f"{number} pods were killed; {len(self._load.failures)} requests failed so far and were repeated")

    def store_away(self) -> None:
        """Kill ClickHouse in the middle of an upgrade, and start it again a minute later."""
        upgrade = threading.Thread(target=self._upgrade)
        upgrade.start()
        time.sleep(2)
        self._run.store.kill()
        time.sleep(AWAY_SECONDS)
        self._run.store.start()
        upgrade.join()
        self.wait_until_whole()
        self._report(f"ClickHouse was away for {AWAY_SECONDS} s in the middle of an upgrade")

    def broken_upgrade(self) -> None:
        """Upgrade to an image that does not exist: the pods of the release go on. Then roll back."""
        with self._load.planned("broken upgrade"):
            self._run.release.upgrade(self._run.values("does-not-exist"))
            wait_until(self._has_pod_without_image, _SECONDS, "no pod waits for its image")
            time.sleep(5)
            self._run.release.rollback()
            self.wait_until_whole()
        self._report("a broken upgrade was rolled back: no request failed")

    def wait_until_whole(self) -> None:
        """Wait until all pods that the Deployments want are there, new and ready, and no other."""
        wait_until(self._is_whole, _SECONDS, "the pods are not as wanted")
        self._load.check()

    def _upgrade(self, *options: str) -> None:
        self._tags += 1
        tag = f"{self._base}-{self._tags}"
        self._node.tag(f"localhost/meterport:{self._base}", f"localhost/meterport:{tag}")
        self._run.release.upgrade(self._run.values(tag), *options)
        if options:
            self.wait_until_whole()

    def _evict(self, name: str) -> None:
        namespace = self._run.release.namespace
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
        }
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"

        def is_evicted() -> bool:
            """A budget that another pod uses answers 429 for a moment."""
            done = self._run.plane.try_kubectl("create", "--raw", path, "--filename", "-", given=json.dumps(eviction))
            return done.returncode == 0

        wait_until(is_evicted, _SECONDS, f"{name} cannot be evicted")

    def _is_whole(self) -> bool:
        release = self._run.release
        selector = f"app.kubernetes.io/instance={release.name}"
        found = self._run.plane.get("deployments", "--namespace", release.namespace, "--selector", selector)["items"]
        wanted = 0
        for deployment in found:
            spec, status = deployment["spec"], deployment["status"]
            wanted += spec["replicas"]
            counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas")]
            if (
                status.get("observedGeneration") != deployment["metadata"]["generation"]
                or counts != [spec["replicas"]] * 3
            ):
                return False
        return len(self._pods()) == wanted

    def _pods(self) -> list[dict[str, Any]]:
        """Return the pods of both components, without that of `helm test`."""
        return [pod for component in ("api", "ingest") for pod in self._run.release.pods(component)]

    def _has_pod_without_image(self) -> bool:
        return any(
            container.get("state", {}).get("waiting", {}).get("reason") in {"ErrImagePull", "ImagePullBackOff"}
            for pod in self._pods()
            for container in pod["status"].get("containerStatuses", ())
        )
