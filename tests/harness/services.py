"""What the tests' own services are started with: ports that stay theirs, a docker that answers, packages of others.

Tests run in several processes: what they share on disk, one at a time may work on.
"""

import fcntl
import hashlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

_T = TypeVar("_T")
CACHE = Path(__file__).resolve().parent.parent.parent / ".cache"
NPM_SECONDS = 280
PIP_SECONDS = 280
GO_SECONDS = 280


class Unavailable(Exception):
    """This kind of service cannot be had on this machine; says why."""


def lacking(what: str) -> NoReturn:
    """Skip the test, saying what this machine lacks; in CI, which must have it, fail."""
    assert not os.environ.get("CI"), f"CI must have it: {what}"
    pytest.skip(what)


def had(make: Callable[[], _T]) -> _T:
    """Return what is made, where this machine can; otherwise see `lacking`."""
    try:
        return make()
    except Unavailable as reason:
        lacking(str(reason))


def free_ports(count: int) -> list[int]:
    """Return free loopback ports below the range the kernel hands out.

    A port of that range could be taken by anyone while its service is down for a restart; even by a client of ours
    that tries to reconnect to it, for on loopback a socket can be connected to itself.
    """
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = 20_000 + secrets.randbelow(12_000)
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
        return ports


def need_docker() -> None:
    """Ask whether a docker engine answers.

    By the command: the library leaves a socket open where no engine answers, which is an error in our tests.
    Raises: Unavailable.
    """
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "version"], capture_output=True, check=False).returncode
    ):
        raise Unavailable("no docker engine answers")


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Let one process at a time do what has this name."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ended with the file, or its process
        yield


def install_packages(folder: Path) -> None:
    """Have a folder's node_modules be what its lock file names. Without npm the test is skipped; CI must have it."""
    if shutil.which("npm") is None:
        lacking("no npm on this machine")
    held, wanted = folder / "node_modules" / ".package-lock.json", folder / "package-lock.json"
    with alone(folder.name):
        if not held.exists() or held.stat().st_mtime < wanted.stat().st_mtime:
            subprocess.run(["npm", "ci", "--silent"], cwd=folder, check=True, capture_output=True, timeout=NPM_SECONDS)
            held.touch()


def install_python_packages(lock: Path) -> Path:
    """Return a folder with the packages a hashed lock file names, installed once for each version of that file.

    For packages that cannot be beside ours: a process finds them where its PYTHONPATH begins with the folder.
    """
    folder = CACHE / "python" / f"{lock.parent.name}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    with alone("python"):
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                options = [
                    "--quiet",
                    "--disable-pip-version-check",
                    "--require-hashes",
                    "--target",
                    f"{scratch}/packages",
                ]
                pip = [sys.executable, "-m", "pip", "install", *options, "-r", str(lock)]
                installed = subprocess.run(pip, check=False, capture_output=True, text=True, timeout=PIP_SECONDS)
                assert installed.returncode == 0, installed.stderr
                Path(scratch, "packages").rename(folder)  # whole at once: one that exists is complete
    return folder


def build_go(folder: Path) -> Path:
    """Return the program of a Go module, built once for each version of its files.

    Raises: Unavailable: no go.
    """
    if shutil.which("go") is None:
        raise Unavailable("no go on this machine")
    sources = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    program = CACHE / "go" / f"{folder.parent.name}-{hashlib.sha256(sources).hexdigest()[:12]}"
    with alone("go"):
        if not program.exists():
            built = subprocess.run(
                ["go", "build", "-buildvcs=false", "-o", str(program.with_suffix(".part")), "."],
                cwd=folder,
                env={**os.environ, "CGO_ENABLED": "0"},  # no compiler of C is needed
                check=False,
                capture_output=True,
                text=True,
                timeout=GO_SECONDS,
            )
            assert built.returncode == 0, built.stderr
            program.with_suffix(".part").rename(program)
    return program
