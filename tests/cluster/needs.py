"""What the cluster needs from this machine, and where it keeps what it has made.

Owns: the check of the machine, which names everything that is missing in one line, and the folder of the cache.
"""

import os
import platform
import shutil
from enum import StrEnum
from pathlib import Path

from tests.harness.preloaded import ROOT
from tests.harness.services import CACHE, Unavailable

FOLDER = CACHE / "cluster"
CNI_PLUGINS = Path("/usr/lib/cni")
CGROUPS = Path("/sys/fs/cgroup")
HELM = ROOT / ".venv-chart" / "bin" / "helm4"  # made by `make cluster` and `make chart`

# The Debian package of each program.
_PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "iptables": "iptables",
    "ip": "iproute2",
    "unshare": "util-linux",
}


class Part(StrEnum):
    """What is shown on the cluster after the first pod."""

    ALL = "all"
    EMBEDDED = "embedded"
    DISTRIBUTED = "distributed"
    NONE = "none"


def check_machine() -> None:
    """Raises: Unavailable: this machine cannot run the cluster. The message is one line."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        raise Unavailable("it needs Linux and root")
    if shutil.which("go") is None:
        raise Unavailable("no go on this machine, which builds Kubernetes (1.26 or later)")
    if not HELM.exists():
        raise Unavailable("no Helm in .venv-chart: run it as `make cluster`")
    missing = {package for program, package in _PROGRAMS.items() if shutil.which(program) is None}
    if not (CNI_PLUGINS / "bridge").exists():
        missing.add("containernetworking-plugins")
    if missing:
        raise Unavailable(f"apt-get install --no-install-recommends {' '.join(sorted(missing))}")
