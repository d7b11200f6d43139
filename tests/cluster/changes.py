"""What happens to a release under load: upgrades, a rollback, drains, kills, a store that is away, a broken upgrade.

Owns: one method for each. Those of planned changes raise an error if one request fails; the others only need that in
the end nothing is lost or doubled, which tests/cluster/distributed.py compares.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from tests.chaos.recovery import wait_until
from tests.cluster.distributed import Distributed
from tests.cluster.load import Load
from tests.cluster.namespaces import has_event, set_quota
from tests.cluster.node import Node
from tests.cluster.pauses import Pauses
from tests.cluster.progress import Report

_SECONDS = 300  # after which what is awaited will not happen, however busy the machine is
_AWAY_SECONDS = 60
_HOLD_SECONDS = 5  # for which the load meets a change that cannot complete
_GRACE_SECONDS = 5  # of a process that hangs


class Changes:
    """Changes of one release under one load. `base`: the tag of its image, which upgrades give other names."""

    def __init__(self, run: Distributed, load: Load, pauses: Pauses, node: Node, base: str, report: Report) -> None:
        self._run = run
        self._load = load
        self._pauses = pauses
        self._node = node
        self._base = base
        self._report = report
        self._tags = [base]  # those of the revisions of the release, and the current one last
        self._chance = Random(1)  # noqa: S311 - reproducible, not secret

    def upgrades(self, number: int) -> None:
        for turn in range(number):
            with self._planned(f"upgrade {turn + 1} of {number}"):
                self._upgrade("--wait")
                self.wait_until_whole()

    def rollback(self) -> None:
        with self._planned("rollback"):
            self._run.release.rollback()
            self._tags.append(self._tags[-2])
            self.wait_until_whole()

    def drain(self) -> None:
        """Evict every pod once, one after the other, as `kubectl drain` does on each node of a larger cluster."""
        with self._planned("every pod was evicted"):
            for pod in self._pods():
                self._evict(pod["metadata"]["name"])
                self.wait_until_whole()

    def small_quota(self) -> None:
        """Change the pods of the API in a namespace without room for one more; then make room for exactly one."""
        namespace = self._run.release.namespace
        with self._planned("an update in a quota one pod short, then with exactly enough"):
            set_quota(self._run.plane, namespace, self._run.quota(0))
            values = self._run.values(self._tags[-1])
            values["api"] |= {"podAnnotations": {"example.com/changed": "yes"}}
            self._run.release.upgrade(values)
            wait_until(
                lambda: has_event(self._run.plane, namespace, "exceeded quota"), "no quota was exceeded", _SECONDS
            )
            time.sleep(_HOLD_SECONDS)
            set_quota(self._run.plane, namespace, self._run.quota(1))
            self.wait_until_whole()

    def broken_upgrade(self) -> None:
        """Upgrade to an image that does not exist: the pods of the release go on. Then roll back."""
        with self._planned("a broken upgrade, rolled back"):
            self._run.release.upgrade(self._run.values("does-not-exist"))
            wait_until(self._has_pod_without_image, "no pod waits for its image", _SECONDS)
            time.sleep(_HOLD_SECONDS)
            self._run.release.rollback()
            self.wait_until_whole()

    def kills(self, number: int) -> None:
        """Kill pods at random, in three ways: without a grace period, by a signal, and at the end of a grace period."""
        ways = (self._delete, self._kill_process, self._let_grace_end)
        for turn in range(number):
            pod = self._ready_pod()
            # The kubelet starts a container later and later that has ended before, so such a pod is deleted.
            way = self._delete if _has_restarted(pod) else ways[turn % len(ways)]
            way(pod)
            time.sleep(self._chance.uniform(1, 4))
        self.wait_until_whole()
        self._report(f"{number} pods were killed: {self._load.failures_so_far()}")

    def store_away(self) -> None:
        """Kill ClickHouse when an upgrade has replaced some pods but not all, and start it again a minute later."""
        self._upgrade()
        wait_until(self._is_half_new, "no pod is new while another one is old", _SECONDS)
        self._run.store.kill()
        killed_at = time.monotonic()
        set_quota(
            self._run.plane, self._run.release.namespace, self._run.quota(4)
        )  # for `helm test`, and for pods that end
        said = self._run.release.failed_test()
        assert "fault    store address" in said, said
        time.sleep(max(0.0, killed_at + _AWAY_SECONDS - time.monotonic()))
        self._run.store.start()
        self.wait_until_whole()
        away = f"ClickHouse was away for {_AWAY_SECONDS} s in an upgrade, and helm test said so"
        self._report(f"{away}: {self._load.failures_so_far()}")

    def wait_until_whole(self) -> None:
        """Wait until all pods that the Deployments want are there, new and ready, and no other."""
        wait_until(self._is_whole, "the pods are not as wanted", _SECONDS)
        self._load.check()

    @contextmanager
    def _planned(self, what: str) -> Iterator[None]:
        """Report a change in which no request fails. Raises: AssertionError: one did."""
        self._pauses.longest()
        with self._load.planned(what):
            yield
        self._report(f"{what}: no request failed; a partition paused for at most {self._pauses.longest():.1f} s")

    def _upgrade(self, *options: str) -> None:
        tag = f"{self._base}-{len(self._tags)}"
        self._tags.append(tag)
        self._node.tag(f"localhost/meterport:{self._base}", f"localhost/meterport:{tag}")
        self._run.release.upgrade(self._run.values(tag), *options)

    def _ready_pod(self) -> dict[str, Any]:
        """Wait until a pod is ready and not about to end, and return one of them."""
        candidates: list[dict[str, Any]] = []

        def has_candidates() -> bool:
            candidates[:] = [pod for pod in self._pods() if _is_ready(pod)]
            return bool(candidates)

        wait_until(has_candidates, "no pod is ready", _SECONDS)
        return self._chance.choice(candidates)

    def _delete(self, pod: dict[str, Any], grace_seconds: int = 0) -> None:
        here = ("--namespace", self._run.release.namespace)
        options = [f"--grace-period={grace_seconds}", "--wait=false", *([] if grace_seconds else ["--force"])]
        self._run.plane.kubectl("delete", "pod", pod["metadata"]["name"], *here, *options)

    def _kill_process(self, pod: dict[str, Any]) -> None:
        self._node.signal(_container(pod), "SIGKILL")

    def _let_grace_end(self, pod: dict[str, Any]) -> None:
        """Stop the process, so that SIGTERM has no effect: the kubelet kills it at the end of the grace period."""
        self._node.signal(_container(pod), "SIGSTOP")
        self._delete(pod, _GRACE_SECONDS)

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

        wait_until(is_evicted, f"{name} cannot be evicted", _SECONDS)

    def _is_whole(self) -> bool:
        self._run.check_services()
        deployments = [self._run.release.deployment(component) for component in ("api", "ingest")]
        wanted = [int(deployment["spec"]["replicas"]) for deployment in deployments]
        for deployment, number in zip(deployments, wanted, strict=True):
            status = deployment["status"]
            counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas")]
            if status.get("observedGeneration") != deployment["metadata"]["generation"] or counts != [number] * 3:
                return False
        return len(self._pods()) == sum(wanted)

    def _is_half_new(self) -> bool:
        images = {pod["spec"]["containers"][0]["image"] for pod in self._pods()}
        return len(images) > 1 and f"localhost/meterport:{self._tags[-1]}" in images

    def _pods(self) -> list[dict[str, Any]]:
        """Return the pods of both components, without that of `helm test`."""
        return [pod for component in ("api", "ingest") for pod in self._run.release.pods(component)]

    def _has_pod_without_image(self) -> bool:
        return any(
            container.get("state", {}).get("waiting", {}).get("reason") in {"ErrImagePull", "ImagePullBackOff"}
            for pod in self._pods()
            for container in pod["status"].get("containerStatuses", ())
        )


def _is_ready(pod: dict[str, Any]) -> bool:
    ready = [each["ready"] for each in pod["status"].get("containerStatuses", ())]
    return ready == [True] and "deletionTimestamp" not in pod["metadata"]


def _has_restarted(pod: dict[str, Any]) -> bool:
    return any(each["restartCount"] for each in pod["status"]["containerStatuses"])


def _container(pod: dict[str, Any]) -> str:
    """Return the id of a pod's container in containerd."""
    return str(pod["status"]["containerStatuses"][0]["containerID"]).removeprefix("containerd://")
