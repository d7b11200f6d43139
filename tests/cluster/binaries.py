"""The programs of the cluster, built from Go modules once for each version of their go.mod and go.sum.

Owns: which programs are built from which module below tests/cluster/go, and the folders where they are kept.
Kubernetes is one module whose parts are replaced by the modules that are published from it. It and etcd take fifteen
minutes of processor time; Go's own cache makes the next version cheaper.
Source: go.dev/ref/mod; k8s.io/component-base/version, whose variables the linker sets: they are v0.0.0 otherwise.
"""

import hashlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.cluster.needs import FOLDER
from tests.harness.services import Unavailable, file_lock

_SOURCES = Path(__file__).resolve().parent / "go"
KUBERNETES = "1.34.4"
_COMMANDS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
_PACKAGES = {
    "etcd": {"etcd": "go.etcd.io/etcd/server/v3"},
    "pause": {"pause": "."},
    "kubernetes": {name: f"k8s.io/kubernetes/cmd/{name}" for name in _COMMANDS},
}
_VERSION = "k8s.io/component-base/version"


def built(report: Callable[[str], None]) -> dict[str, Path]:
    """Return the path of each program by its name. Args: report: takes a line for each one that has to be built.

    Raises: Unavailable: Go cannot fetch or build a module.
    """
    return {
        program: _program(module, program, package, report)
        for module, programs in _PACKAGES.items()
        for program, package in programs.items()
    }


def _program(module: str, program: str, package: str, report: Callable[[str], None]) -> Path:
    sources = b"".join(path.read_bytes() for path in sorted((_SOURCES / module).iterdir()))
    path = FOLDER / f"{module}-{hashlib.sha256(sources).hexdigest()[:12]}" / program
    with file_lock("cluster"):
        if not path.exists():
            began = time.monotonic()
            report(f"building {program}, which takes minutes the first time")
            path.parent.mkdir(parents=True, exist_ok=True)
            _build(_SOURCES / module, package, path.with_suffix(".part"))
            path.with_suffix(".part").rename(path)
            report(f"{program} built in {time.monotonic() - began:.0f} s")
    return path


def _build(folder: Path, package: str, path: Path) -> None:
    major, minor, _ = KUBERNETES.split(".")
    names = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    flags = " ".join(["-s -w", *(f"-X {_VERSION}.{name}={value}" for name, value in names.items())])
    done = subprocess.run(
        ["go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", str(path), package],
        cwd=folder,
        env={**os.environ, "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unavailable(f"go cannot build {package}: {done.stderr.strip()[-1000:]}")
