"""Mode embedded in the cluster: from nothing to the first event that is answered, and `helm test`.

The volume is a directory of this machine, which a PersistentVolume names; a cluster would have a provisioner.
"""

import os
import shutil
from pathlib import Path

from tests.cluster import first_event
from tests.cluster.control_plane import ControlPlane
from tests.cluster.namespaces import KEY, make_namespace, make_secret
from tests.cluster.progress import Report
from tests.cluster.release import Release

NAMESPACE = "embedded"
_VALUES = {
    "mode": "embedded",
    "image": {"registry": "localhost"},
    "config": {"meters": [first_event.METER]},
    "secrets": {"api_key": {"name": "meterport", "key": "api-key"}},
    "embedded": {"persistence": {"size": "1Gi"}},
}
_USER = 65532


def show(plane: ControlPlane, chart: Path, directory: Path, report: Report) -> None:
    """Install, send one event, ask for it, and test. Args: directory: the volume. Raises: AssertionError."""
    make_namespace(plane, NAMESPACE)
    _make_volume(plane, directory)
    make_secret(plane, NAMESPACE, "meterport", api_key=KEY)
    release = Release(plane, chart, "meterport", NAMESPACE)
    first_event.install(release, _VALUES, "mode embedded", report)
    release.test()
    report("helm test found nothing wrong")
    release.uninstall()


def _make_volume(plane: ControlPlane, directory: Path) -> None:
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
        }
    )
