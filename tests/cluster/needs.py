"""What the cluster needs from this machine, and where it keeps what it has made.

Owns: the check of the machine, which names everything that is missing in one line, and the folder of the cache.
"""

import os
import platform
import shutil
from enum import StrEnum
from pathlib import Path

from tests.chart.tools import HELMS
from tests.harness.services import CACHE, Unavailable

FOLDER = CACHE / "cluster"
CNI_PLUGINS = Path("/usr/lib/cni")
CGROUPS = Path("/sys/fs/cgroup")

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
    EMBEDDED = "embedded"  # mode embedded
    OBJECTS = "objects"  # the rendered chart, applied twice
    RELEASES = "releases"  # two releases in mode distributed, one of them from Helm 3 to Helm 4
    LOAD = "load"  # a release in mode distributed that is changed under load
    NONE = "none"


def check_machine() -> None:
    """Raises: Unavailable: this machine cannot run the cluster. The message is one line."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        raise Unavailable("it needs Linux and root")
    if shutil.which("go") is None:
        raise Unavailable("no go on this machine, which builds Kubernetes (1.26 or later)")
    if not all(path.exists() for path in HELMS.values()):
        raise Unavailable("no Helm in .venv-chart: run it as `make cluster`")
    missing = {package for program, package in _PROGRAMS.items() if shutil.which(program) is None}
    if not (CNI_PLUGINS / "bridge").exists():
        missing.add("containernetworking-plugins")
    if missing:
        raise Unavailable(f"apt-get install --no-install-recommends {' '.join(sorted(missing))}")
