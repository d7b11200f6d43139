"""What the tests need to start services: a running docker, and packages of npm, PyPI and Go.

Tests run in several processes. A file lock lets one process at a time change the files that they share.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

_T = TypeVar("_T")
CACHE = Path(__file__).resolve().parent.parent.parent / ".cache"
NPM_SECONDS = 280
PIP_SECONDS = 280
GO_SECONDS = 280


class Unavailable(Exception):
    """This machine cannot run a kind of service. The message says why."""


def skip_or_fail(what: str) -> NoReturn:
    """Skip the test with the reason `what`. In CI, which must have everything, fail instead."""
    assert not os.environ.get("CI"), f"CI must have it: {what}"
    pytest.skip(what)


def available_or_skip(make: Callable[[], _T]) -> _T:
    """Return the result of `make`. If this machine cannot make it (`Unavailable`), see `skip_or_fail`."""
    try:
        return make()
    except Unavailable as reason:
        skip_or_fail(str(reason))


def need_docker() -> None:
    """Check that docker answers.

    This runs the command: if docker does not answer, the library leaves a socket open, which is an error in our tests.
    Raises: Unavailable.
    """
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "version"], capture_output=True, check=False).returncode
    ):
        raise Unavailable("docker does not answer")


@contextmanager
def file_lock(name: str) -> Iterator[None]:
    """Hold the lock of this name: one process at a time has it."""
    CACHE.mkdir(exist_ok=True)
    with locked(CACHE / f"{name}.lock"):
        yield


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that is this file: one process at a time has it."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed or the process ends
        yield


def install_packages(folder: Path) -> None:
    """Install the packages of a folder's lock file into its node_modules. Without npm see `skip_or_fail`."""
    if shutil.which("npm") is None:
        skip_or_fail("no npm on this machine")
    installed, wanted = folder / "node_modules" / ".package-lock.json", folder / "package-lock.json"
    with file_lock(folder.name):
        if not installed.exists() or installed.stat().st_mtime < wanted.stat().st_mtime:
            subprocess.run(
                ["npm", "ci", "--silent", "--no-audit", "--no-fund"],
                cwd=folder,
                check=True,
                capture_output=True,
                timeout=NPM_SECONDS,
            )
            installed.touch()


def install_python_packages(lock: Path) -> Path:
    """Return a folder with the packages of a hashed lock file, installed once for each version of that file.

    This is for packages that cannot be installed together with Meterport's own. A process finds them if its PYTHONPATH
    begins with the folder.
    """
    folder = CACHE / "python" / f"{lock.parent.name}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    with file_lock("python"):
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                options = [
                    "--quiet",
                    "--disable-pip-version-check",
                    "--no-compile",
                    "--require-hashes",
                    "--target",
                    f"{scratch}/packages",
                ]
                pip = [sys.executable, "-m", "pip", "install", *options, "-r", str(lock)]
                installed = subprocess.run(pip, check=False, capture_output=True, text=True, timeout=PIP_SECONDS)
                assert installed.returncode == 0, installed.stderr
                Path(scratch, "packages").rename(folder)  # renamed at the end, so that a folder that exists is complete
    return folder


def build_go(folder: Path) -> Path:
    """Return the path of a Go module's program, built once for each version of its files.

    Raises: Unavailable: this machine has no go.
    """
    if shutil.which("go") is None:
        raise Unavailable("no go on this machine")
    sources = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    program = CACHE / "go" / f"{folder.parent.name}-{hashlib.sha256(sources).hexdigest()[:12]}"
    with file_lock("go"):
        if not program.exists():
            built = subprocess.run(
                ["go", "build", "-buildvcs=false", "-o", str(program.with_suffix(".part")), "."],
                cwd=folder,
                env={**os.environ, "CGO_ENABLED": "0"},  # so that no C compiler is needed
                check=False,
                capture_output=True,
                text=True,
                timeout=GO_SECONDS,
            )
            assert built.returncode == 0, built.stderr
            program.with_suffix(".part").rename(program)
    return program
