"""The namespaces in which the whole cluster lives, so that nothing of it is left when it ends, however it ends.

Owns: `run_isolated`, which runs a module in network, mount and process namespaces of its own, and the control groups of
the node. Nothing outside can see the cluster's addresses, mounts and processes. When the first process of the
namespaces ends, also by SIGKILL, the kernel ends all the others.
Limits: control groups are the only thing that is not in a namespace. They are removed at the end, and by the next run
if this process is killed. It needs the hierarchies of version 1, or the one of version 2 with its controllers.
Source: namespaces(7), pid_namespaces(7), cgroups(7).
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.cluster.needs import CGROUPS
from tests.harness.preloaded import ROOT
from tests.harness.services import locked

CGROUP = "meterport-cluster"
# With `setpriv` the namespaces end with this process, also if it is killed.
_UNSHARE = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
)
_HIDDEN = ("/run", "/var/log", "/var/lib/kubelet")  # of containerd, the kubelet and the plugins: empty in here
_REMOVAL_SECONDS = 20
# The kubelet sets these of the whole machine, unless they have its values already: k8s.io/kubernetes
# pkg/kubelet/cm/container_manager_linux.go. In here files with those values are in their place.
_KERNEL_FLAGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def run_isolated(module: str, argument: str) -> int:
    """Run a module with one argument in the namespaces, and return its exit status. It calls `as_first_process`.

    One run at a time has the control groups of the machine; another one waits.
    """
    with locked(Path(tempfile.gettempdir(), f"{CGROUP}.lock")):
        return _run_isolated(module, argument)


def _run_isolated(module: str, argument: str) -> int:
    remove_cgroups()
    # Services are started as they are: a process that forks them soon (tests/harness/preloaded.py) is for many starts.
    environment = {**os.environ, "METERPORT_TEST_LONG": "1"}
    started = subprocess.Popen([*_UNSHARE, sys.executable, "-m", module, argument], cwd=ROOT, env=environment)
    try:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both, and the inner one ends in order
        return started.wait()
    finally:
        started.kill()
        started.wait()
        remove_cgroups()


def as_first_process(work: Callable[[], int]) -> int:
    """Return the exit status of `work`, which runs in a child of this process, which is the first of its namespace.

    The first process collects the orphans of all others, so it does nothing else.
    """
    child = os.fork()
    if child == 0:
        _prepare()
        return work()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        pid, status = os.wait()
        if pid == child:
            return abs(os.waitstatus_to_exitcode(status))


def _prepare() -> None:
    for path in _HIDDEN:
        Path(path).mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", path], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for name in ("ipv4/ip_forward", "bridge/bridge-nf-call-iptables"):
        Path("/proc/sys/net", name).write_text("1")
    _hide_kernel_flags()
    make_cgroups()


def _hide_kernel_flags() -> None:
    for name, value in _KERNEL_FLAGS.items():
        file = Path("/run", name.replace("/", "-"))
        file.write_text(f"{value}\n")
        subprocess.run(["mount", "--bind", str(file), f"/proc/sys/{name}"], check=True)


def hierarchies() -> list[Path]:
    """Return the directory of each hierarchy of control groups that a node uses."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [path for path in sorted(CGROUPS.iterdir()) if path.is_dir() and not path.is_symlink()]


def make_cgroups() -> None:
    """Make the group in which the kubelet keeps all pods, in each hierarchy."""
    for hierarchy in hierarchies():
        group = hierarchy / CGROUP
        group.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):  # empty in a new group, which then takes no process
            if (group / name).exists() and not (group / name).read_text().strip():
                (group / name).write_text((hierarchy / name).read_text())


def remove_cgroups() -> None:
    """Remove the groups of the node. A process that was just killed may keep its group for a moment."""
    deadline = time.monotonic() + _REMOVAL_SECONDS
    for hierarchy in hierarchies():
        top = hierarchy / CGROUP
        while top.exists():
            for group in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
                with suppress(OSError):
                    group.rmdir()
            with suppress(OSError):
                top.rmdir()
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)
