"""Builds the images of deploy/Dockerfile by buildah, on bases that are made of Debian's packages: no docker is needed.

Owns: the two bases (one with pip, one without shell and package manager), `built`, which yields the root directories of
both targets, and `archived`, which gives the images to other programs. Everything is kept in one directory, whose files
later runs use again.
Limits: root on Debian 12 with the packages buildah and mmdebstrap; packages come from where pip is configured to look.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.preloaded import ROOT
from tests.harness.services import Unavailable

CACHE = ROOT / ".cache" / "image"
TARGETS = ("meterport", "meterport-embedded")
_RELEASE = "bookworm"
_BUILD = ("minbase", "python3,python3-pip,ca-certificates")
# `extract` installs nothing: the packages' files are there, but no shell. Like the base that the Dockerfile names, it
# gets no package manager either.
_RUNTIME = ("extract", "python3-minimal,libpython3-stdlib,python3.11,ca-certificates,tzdata,libstdc++6,zlib1g")


@contextmanager
def built(directory: Path) -> Iterator[dict[str, Path]]:
    """Build both targets and yield the root directory of each. Raises: Unavailable: a program is missing."""
    store = _filled_store(directory)
    containers = {target: store.run("from", _image(target)).strip() for target in TARGETS}
    try:
        yield {target: Path(store.run("mount", container).strip()) for target, container in containers.items()}
    finally:
        store.run("rm", *containers.values())


def archived(directory: Path, tag: str) -> dict[str, Path]:
    """Build both targets, and return an archive of each, as `docker save` would write it, with localhost/TARGET:TAG.

    Raises: Unavailable: a program is missing.
    """
    store = _filled_store(directory)
    return {target: store.archive(target, f"localhost/{target}:{tag}") for target in TARGETS}


def _filled_store(directory: Path) -> "_Store":
    for program in ("buildah", "mmdebstrap", "runc"):
        if shutil.which(program) is None:
            raise Unavailable(f"no {program} (Debian: package {program}) on this machine")
    directory.mkdir(parents=True, exist_ok=True)
    store = _Store(directory)
    store.make_base("build", *_BUILD)
    store.make_base("runtime", *_RUNTIME)
    for target in TARGETS:
        print(f"building {target}", flush=True)  # noqa: T201
        store.build(target)
    return store


def _image(name: str) -> str:
    return f"localhost/meterport-test/{name}"


class _Store:
    """Images and containers in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._options = ["--storage-driver", "overlay", "--root", str(directory / "images")]
        self._options += ["--runroot", str(directory / "run")]

    def run(self, command: str, *arguments: str) -> str:
        whole = ["buildah", *self._options, command, *arguments]
        ran = subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{' '.join(whole)}:\n{ran.stdout}{ran.stderr}"
        return ran.stdout

    def make_base(self, name: str, variant: str, packages: str) -> None:
        archive = self._directory / f"{name}.tar"
        if archive.exists():
            return
        print(f"making the base with {packages}", flush=True)  # noqa: T201
        partial = archive.with_suffix(".partial.tar")
        options = ["--quiet", f"--variant={variant}", f"--include={packages}"]
        if variant == "extract":
            options.append('--extract-hook=rm -f "$1"/usr/bin/dpkg* "$1"/usr/bin/apt*')
        subprocess.run(["mmdebstrap", *options, _RELEASE, str(partial)], check=True)
        container = self.run("from", "scratch").strip()
        self.run("add", container, str(partial), "/")
        self.run("commit", "--rm", container, _image(name))
        partial.rename(archive)

    def build(self, target: str) -> None:
        bases = {"BUILD_IMAGE": _image("build"), "RUNTIME_IMAGE": _image("runtime")}
        if index := os.environ.get("PIP_INDEX_URL"):
            bases["PIP_INDEX_URL"] = index
        options = [option for name, value in bases.items() for option in ("--build-arg", f"{name}={value}")]
        if certificates := os.environ.get("PIP_CERT"):
            options += ["--volume", f"{certificates}:{certificates}:ro", "--env", f"PIP_CERT={certificates}"]
        options += ["--isolation", "chroot", "--layers", "--ignorefile", ".dockerignore", "--target", target]
        self.run("build", "--file", "deploy/Dockerfile", *options, "--tag", _image(target), ".")

    def archive(self, target: str, reference: str) -> Path:
        """Return the archive of a target's newest image. Those of older ones are removed."""
        identity = self.run("images", "--quiet", "--no-trunc", _image(target)).strip().rpartition(":")[2]
        path = self._directory / f"{target}-{identity[:12]}-{reference.rpartition(':')[2]}.tar"
        if not path.exists():
            for old in self._directory.glob(f"{target}-[0-9a-f]*.tar"):
                old.unlink()
            partial = path.with_suffix(".partial")
            self.run("push", "--quiet", _image(target), f"docker-archive:{partial}:{reference}")
            partial.rename(path)
        return path
