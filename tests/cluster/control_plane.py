"""The control plane: etcd, the API server, the controllers and the scheduler, as processes of the cluster.

Owns: their arguments, and `ControlPlane`, which starts them and gives the way to the API.
Limits: one of each, without TLS between etcd and the API server, which are on loopback.
Source: the reference pages of the programs in kubernetes.io/docs "Command line tools".
"""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cluster.certificates import Authority
from tests.cluster.daemon import Daemon

NODE_ADDRESS = "10.240.0.1"
SERVICE_NETWORK = "10.96.0.0/16"
_FIRST_SERVICE = "10.96.0.1"  # the API server's own, in whose certificate it must be
_ETCD = "http://127.0.0.1:2379"
_LEADER = "--leader-elect=false"
SERVER = f"https://{NODE_ADDRESS}:6443"


class ControlPlane:
    """The running control plane. `admin`: the kubeconfig that may do everything."""

    def __init__(self, programs: Mapping[str, Path], directory: Path) -> None:
        self.authority = Authority(directory / "certificates")
        self.admin = self.authority.kubeconfig("admin", SERVER, "admin", "system:masters")
        self.programs = programs
        self.logs = directory / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._daemons: list[Daemon] = []

    def start(self) -> None:
        """Start all four, and return when the API server is ready."""
        self._start_etcd()
        keys = self.authority.signing_key("service-accounts.key")
        self._start_api_server(keys)
        self._start_controllers(keys)
        scheduler = self.authority.kubeconfig("scheduler", SERVER, "system:kube-scheduler", "system:kube-scheduler")
        self._run("kube-scheduler", f"--kubeconfig={scheduler}", _LEADER)

    def _run(self, program: str, *arguments: str) -> Daemon:
        daemon = Daemon(program, [self.programs[program], *arguments], self.logs)
        self._daemons.append(daemon)
        return daemon

    def _start_etcd(self) -> None:
        self._run(
            "etcd",
            f"--data-dir={self._directory / 'etcd'}",
            f"--listen-client-urls={_ETCD}",
            f"--advertise-client-urls={_ETCD}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--unsafe-no-fsync",  # the cluster is thrown away
            "--logger=zap",
            "--log-level=warn",
        )

    def _start_api_server(self, keys: Path) -> None:
        names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
        addresses = (NODE_ADDRESS, _FIRST_SERVICE, "127.0.0.1")
        certificate, key = self.authority.issue("api-server", "kube-apiserver", "", *names, *addresses)
        client_certificate, client_key = self.authority.issue("api-server-client", "api-server", "system:masters")
        daemon = self._run(
            "kube-apiserver",
            f"--etcd-servers={_ETCD}",
            f"--advertise-address={NODE_ADDRESS}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={self.authority.certificate}",
            f"--kubelet-certificate-authority={self.authority.certificate}",
            f"--kubelet-client-certificate={client_certificate}",
            f"--kubelet-client-key={client_key}",
            "--kubelet-preferred-address-types=InternalIP",  # nothing resolves the node's name
            f"--service-account-issuer={SERVER}",
            f"--service-account-key-file={keys}",
            f"--service-account-signing-key-file={keys}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--profiling=false",
        )
        daemon.wait_until(lambda: self.try_kubectl("get", "--raw", "/readyz").returncode == 0)

    def _start_controllers(self, keys: Path) -> None:
        name = "system:kube-controller-manager"
        self._run(
            "kube-controller-manager",
            f"--kubeconfig={self.authority.kubeconfig('controllers', SERVER, name, name)}",
            f"--root-ca-file={self.authority.certificate}",
            f"--service-account-private-key-file={keys}",
            "--use-service-account-credentials",
            "--horizontal-pod-autoscaler-sync-period=2s",  # default 15 s
            _LEADER,
        )

    def try_kubectl(self, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator, and return how it ended. Args: given: its standard input."""
        return subprocess.run(
            [self.programs["kubectl"], *arguments],
            env={**os.environ, "KUBECONFIG": str(self.admin), "HOME": str(self._directory)},
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """Return what kubectl prints. Raises: AssertionError: it failed."""
        done = self.try_kubectl(*arguments, given=given)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def version(self) -> str:
        """Return the version of the API server."""
        return f"Kubernetes {json.loads(self.kubectl('get', '--raw', '/version'))['gitVersion']}"

    def get(self, *arguments: str, given: str | None = None) -> Any:
        """Return an object, or a list of them, as kubectl gets it. Args: given: its standard input."""
        return json.loads(self.kubectl("get", *arguments, "--output", "json", given=given))

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Create or change objects."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--server-side", "--filename", "-", given=json.dumps(listed))

    def end(self) -> None:
        for daemon in reversed(self._daemons):
            daemon.end()
