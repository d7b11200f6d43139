"""Pods of our image beside those of the chart: the first one of the cluster, and one that a Service gives variables.

Source: kubernetes.io/docs "Pod Security Standards", "Accessing the Service" (environment variables).
"""

from collections.abc import Sequence

from engine import __version__
from tests.chaos.recovery import wait_until
from tests.cluster.control_plane import ControlPlane
from tests.cluster.namespaces import make_namespace
from tests.cluster.progress import Report

NAMESPACE = "meterport"
# Without `enableServiceLinks: false` a pod gets variables of each Service of its namespace, which look like settings.
_WITH_VARIABLES = """
import os, runpy, sys
assert os.environ["METERPORT_PORT"].startswith("tcp://") and os.environ["METERPORT_SERVICE_HOST"]
os.environ["METERPORT_SERVER__HOST"] = "127.0.0.1"  # any other one needs a key
sys.argv = ["meterport", "config", "show"]
runpy.run_module("meterport", run_name="__main__")
"""


def show_first(plane: ControlPlane, report: Report) -> None:
    """Raises: AssertionError: the pod did not run, or said something else."""
    make_namespace(plane, NAMESPACE)
    said = run_pod(plane, NAMESPACE, "version", args=["--version"])
    assert said == f"meterport {__version__}\n", said
    report("a restricted pod of the image ran `meterport --version`")


def show_variables(plane: ControlPlane, namespace: str, report: Report) -> None:
    """Run the program with the variables of the Service `meterport` of this namespace. Raises: AssertionError."""
    said = run_pod(plane, namespace, "variables", command=["/usr/bin/python3", "-c", _WITH_VARIABLES])
    assert "drain_seconds" in said, said
    report("a pod with the variables of a Service named meterport started: they are not settings")


def run_pod(plane: ControlPlane, namespace: str, name: str, **container: Sequence[str]) -> str:
    """Run a pod until it ends, and return what it said. Args: container: `args`, or `command` without the entrypoint.

    Raises: AssertionError: its exit status is not 0.
    """
    security = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    image = f"localhost/meterport:{__version__}"
    user = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    plane.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "restartPolicy": "Never",
                "securityContext": user,
                "containers": [{"name": "meterport", "image": image, "securityContext": security, **container}],
            },
        }
    )

    def phase() -> str:
        return str(plane.get("pod", name, "--namespace", namespace)["status"]["phase"])

    wait_until(lambda: phase() in {"Succeeded", "Failed"}, f"the pod {name} does not end")
    said = plane.kubectl("logs", name, "--namespace", namespace)
    assert phase() == "Succeeded", said
    plane.kubectl("delete", "pod", name, "--namespace", namespace, "--wait=false")
    return said
