"""The one node: containerd, the kubelet and kube-proxy, with the network of its pods.

Owns: their configuration, and `Node`, which starts them and puts images into containerd.
The pods are in a network behind a bridge, by the standard plugins; Services are iptables rules of kube-proxy. Cgroups
are those of version 1 or 2, as the machine has them, without systemd.
Limits: no DNS and no default route out of the namespace: nothing here can reach another machine.
Source: kubernetes.io/docs "Kubelet Configuration (v1beta1)", "kube-proxy Configuration (v1alpha1)"; containerd
docs/cri/config.md; cni.dev/plugins "bridge", "host-local", "portmap".
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.cluster.control_plane import NODE_ADDRESS, SERVER, ControlPlane
from tests.cluster.daemon import Daemon
from tests.cluster.isolation import CGROUP
from tests.cluster.needs import CNI_PLUGINS

NAME = "node"
POD_NETWORK = "10.244.0.0/24"
PAUSE_IMAGE = "localhost/pause:1"
_SOCKET = "/run/containerd/containerd.sock"
_NETWORK = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "pods",
            "isGateway": True,
            "hairpinMode": True,  # a pod that reaches itself by its Service
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/cni",
                "ranges": [[{"subnet": POD_NETWORK}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}


class Node:
    """The node of a control plane. `directory`: for its images, volumes and configuration."""

    def __init__(self, plane: ControlPlane, directory: Path) -> None:
        self._plane = plane
        self._directory = directory
        self._daemons: list[Daemon] = []

    def start(self, pause: Path) -> None:
        """Start all three, and return when the node is ready. Args: pause: the archive of the pods' first image."""
        self._start_containerd()
        self.import_image(pause)
        self._start_kubelet()
        self._start_proxy()
        self._daemons[1].wait_until(self._is_ready)

    def _run(self, name: str, *command: str | Path) -> Daemon:
        daemon = Daemon(name, command, self._plane.logs)
        self._daemons.append(daemon)
        return daemon

    def _written(self, name: str, content: dict[str, Any]) -> Path:
        path = self._directory / name
        path.write_text(json.dumps(content, indent=1))
        return path

    def _start_containerd(self) -> None:
        networks = self._directory / "networks"
        networks.mkdir(parents=True, exist_ok=True)
        (networks / "pods.conflist").write_text(json.dumps(_NETWORK))
        config = self._directory / "containerd.toml"
        config.write_text(_containerd_config(self._directory, networks))
        daemon = self._run("containerd", "containerd", "--config", config)
        daemon.wait_until(lambda: self._ctr("version").returncode == 0)

    def _ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["ctr", "--address", _SOCKET, "--namespace", "k8s.io", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def import_image(self, archive: Path) -> None:
        """Put the images of an archive, of docker or OCI, into containerd. Raises: AssertionError."""
        done = self._ctr("images", "import", str(archive))
        assert done.returncode == 0, f"containerd does not take {archive.name}: {done.stderr}"

    def tag(self, image: str, other: str) -> None:
        """Give an image another name. Raises: AssertionError."""
        done = self._ctr("images", "tag", "--force", image, other)
        assert done.returncode == 0, done.stderr

    def signal(self, container: str, name: str) -> None:
        """Send a signal to the first process of a container. Raises: AssertionError: it does not run."""
        done = self._ctr("tasks", "kill", "--signal", name, container)
        assert done.returncode == 0, done.stderr

    def _start_kubelet(self) -> None:
        authority = self._plane.authority
        certificate, key = authority.issue("kubelet", f"system:node:{NAME}", "system:nodes", NODE_ADDRESS, NAME)
        config = {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(authority.certificate)}},
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(certificate),
            "tlsPrivateKeyFile": str(key),
            "containerRuntimeEndpoint": f"unix://{_SOCKET}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{CGROUP}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "enforceNodeAllocatable": ["pods"],
            "evictionHard": {"memory.available": "1%", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,  # images come from no registry: one that is removed does not come back
            "podLogsDir": "/var/log/pods",
            "volumePluginDir": str(self._directory / "plugins"),
            "resolvConf": "",
        }
        user = f"system:node:{NAME}"
        self._run(
            "kubelet",
            self._plane.programs["kubelet"],
            f"--config={self._written('kubelet.json', config)}",
            f"--kubeconfig={authority.kubeconfig('kubelet-client', SERVER, user, 'system:nodes')}",
            f"--root-dir={self._directory / 'kubelet'}",
            f"--hostname-override={NAME}",
            f"--node-ip={NODE_ADDRESS}",
        )

    def _start_proxy(self) -> None:
        user = self._plane.authority.kubeconfig("kube-proxy", SERVER, "system:kube-proxy", "system:node-proxier")
        unchanged = {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
        config = {
            "kind": "KubeProxyConfiguration",
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "clientConnection": {"kubeconfig": str(user)},
            "mode": "iptables",
            "clusterCIDR": POD_NETWORK,
            "hostnameOverride": NAME,
            "conntrack": unchanged,  # settings of the whole machine, which this namespace may not change
        }
        self._run(
            "kube-proxy", self._plane.programs["kube-proxy"], f"--config={self._written('kube-proxy.json', config)}"
        )

    def _is_ready(self) -> bool:
        for node in self._plane.get("nodes")["items"]:
            for condition in node["status"].get("conditions", ()):
                if condition["type"] == "Ready" and condition["status"] == "True":
                    return True
        return False

    def end(self) -> None:
        for daemon in reversed(self._daemons):
            daemon.end()


def make_network() -> None:
    """Give the namespace the node's address, on a pair of interfaces that lead nowhere, and a route for Services."""
    for line in (
        "link add node type veth peer name nowhere",
        "link set nowhere up",
        f"address add {NODE_ADDRESS}/24 dev node",
        "link set node up",
        "route add default dev node",
    ):
        subprocess.run(["ip", *line.split()], check=True)


def _containerd_config(directory: Path, networks: Path) -> str:
    return f"""
version = 2
root = "{directory}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing"]
[grpc]
address = "{_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true  # root may lack the capability to make a process safer than itself
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = "{networks}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""
