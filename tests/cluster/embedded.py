"""What is shown of mode embedded: from nothing to the first event that is answered, by the chart.

The volume is a directory of this machine, which a PersistentVolume names; a cluster would have a provisioner.
"""

import os
import shutil
import time
from pathlib import Path

import httpx

from tests.chaos.recovery import wait_until
from tests.cluster.control_plane import ControlPlane
from tests.cluster.progress import Report
from tests.cluster.release import Release

NAMESPACE = "embedded"
KEY = "a-key-of-the-cluster-test-that-is-long"
MEDIA = {"Content-Type": "application/cloudevents+json"}
EVENT = {"specversion": "1.0", "id": "1", "source": "tests", "type": "call", "subject": "acme"}
METER = {"slug": "calls", "eventType": "call", "aggregation": "COUNT"}
VALUES = {
    "mode": "embedded",
    "image": {"registry": "localhost"},
    "config": {"meters": [METER]},
    "secrets": {"api_key": {"name": "meterport", "key": "api-key"}},
    "embedded": {"persistence": {"size": "1Gi"}},
}
_USER = 65532
_SECONDS = 120
MOST_SECONDS = 120  # from `helm install` to the first answer, as the installation guide promises


def prepare(plane: ControlPlane, directory: Path) -> None:
    """Make the Secret and the volume that the chart expects."""
    directory.mkdir()
    shutil.chown(directory, _USER, _USER)
    plane.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "embedded"},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": os.fspath(directory), "type": "Directory"},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "meterport", "namespace": NAMESPACE},
            "stringData": {"api-key": KEY},
        },
    )


def show(release: Release, report: Report) -> None:
    """Install, send one event and ask for it. Raises: AssertionError."""
    began = time.monotonic()
    release.install(VALUES)
    report(f"mode embedded is installed and ready, {time.monotonic() - began:.0f} s after `helm install`")
    with httpx.Client(base_url=release.url(), headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
        meter_one_event(client)
    seconds = time.monotonic() - began
    report(f"the first event is answered from a rollup, {seconds:.0f} s after `helm install`")
    assert seconds < MOST_SECONDS, f"{seconds:.0f} s"
    release.uninstall()


def meter_one_event(client: httpx.Client) -> None:
    """Send the event, and wait until a rollup answers it."""
    client.post("/api/v1/events", json=EVENT, headers=MEDIA).raise_for_status()

    def is_answered() -> bool:
        answer = client.get("/api/v1/meters/calls/query").raise_for_status()
        counted = [row["value"] for row in answer.json()["data"]] == [1]
        return counted and "raw" not in answer.headers["x-meterport-grains"]

    wait_until(is_answered, _SECONDS, "the first event was not answered from a rollup")
