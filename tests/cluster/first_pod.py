"""The first thing that is shown: a pod of our image runs in a namespace that takes only restricted pods.

Source: kubernetes.io/docs "Pod Security Standards".
"""

from typing import Any

from engine import __version__
from tests.chaos.recovery import wait_until
from tests.cluster.control_plane import ControlPlane
from tests.cluster.progress import Report

NAMESPACE = "meterport"
_SECONDS = 180
_RESTRICTED = "pod-security.kubernetes.io/enforce"


def make_namespace(plane: ControlPlane, name: str = NAMESPACE) -> None:
    """Make a namespace that takes only restricted pods, and wait until it has a service account."""
    labels = {_RESTRICTED: "restricted"}
    plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    wait_until(lambda: bool(plane.get("serviceaccounts", "--namespace", name)["items"]), _SECONDS, "no service account")


def show(plane: ControlPlane, report: Report) -> None:
    """Raises: AssertionError: the pod did not run, or said something else."""
    make_namespace(plane)
    plane.apply(_pod("version", ["--version"]))
    said = _ended(plane, "version")
    assert said == f"meterport {__version__}\n", said
    report("a restricted pod of the image ran `meterport --version`")


def _ended(plane: ControlPlane, name: str) -> str:
    """Wait until a pod has succeeded, and return what it said."""
    wait_until(lambda: _phase(plane, name) in {"Succeeded", "Failed"}, _SECONDS, f"{name} does not end")
    said = plane.kubectl("logs", name, "--namespace", NAMESPACE)
    assert _phase(plane, name) == "Succeeded", said
    return said


def _phase(plane: ControlPlane, name: str) -> str:
    return str(plane.get("pod", name, "--namespace", NAMESPACE)["status"]["phase"])


def _pod(name: str, arguments: list[str]) -> dict[str, Any]:
    security = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "meterport",
                    "image": f"localhost/meterport:{__version__}",
                    "args": arguments,
                    "securityContext": security,
                }
            ],
        },
    }
