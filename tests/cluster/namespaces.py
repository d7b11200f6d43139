"""The namespaces of the cluster, and what is in one before the chart: a service account, Secrets, a quota.

Every namespace takes only restricted pods.
Source: kubernetes.io/docs "Pod Security Standards", "Resource Quotas".
"""

from collections.abc import Mapping

from tests.chaos.recovery import wait_until
from tests.cluster.control_plane import ControlPlane

KEY = "a-key-of-the-cluster-test-that-is-long"
HEADERS = {"Authorization": f"Bearer {KEY}"}
TOKEN_KEYS = '["a key of the cluster test"]'  # noqa: S105
_QUOTA = "exact"
_RESTRICTED = "pod-security.kubernetes.io/enforce"
_SECONDS = 180


def make_namespace(plane: ControlPlane, name: str) -> None:
    """Make a namespace, and wait until it has a service account."""
    labels = {_RESTRICTED: "restricted"}
    plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    wait_until(lambda: bool(plane.get("serviceaccounts", "--namespace", name)["items"]), "no service account", _SECONDS)


def make_secret(plane: ControlPlane, namespace: str, name: str, **content: str) -> None:
    """Make or change a Secret. Args: content: the text of each key, whose underscores stand for hyphens."""
    data = {key.replace("_", "-"): text for key, text in content.items()}
    metadata = {"name": name, "namespace": namespace}
    plane.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})


def set_quota(plane: ControlPlane, namespace: str, hard: Mapping[str, str]) -> None:
    """Limit what a namespace may use. Args: hard: the limit of each resource."""
    metadata = {"name": _QUOTA, "namespace": namespace}
    plane.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": dict(hard)}})


def has_event(plane: ControlPlane, namespace: str, text: str) -> bool:
    """Return whether an event of a namespace contains a text, as `kubectl get events` would show it."""
    return any(text in event["message"] for event in plane.get("events", "--namespace", namespace)["items"])
