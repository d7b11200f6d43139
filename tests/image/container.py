"""One process of an image, as Kubernetes runs it under the restricted policy: runc, without docker.

Owns: `Container`: uid 65532, a read-only root, no capabilities and no new privileges, /tmp and the data directory as
the only places to write to. It uses the network of this machine, so that tests reach it on loopback.
"""

import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_USER = 65532
DATA = "/var/lib/meterport"


class Container:
    """A context: the process ends with it."""

    def __init__(self, root: Path, arguments: Sequence[str], variables: Mapping[str, str]) -> None:
        """Args: root: the image's root directory. arguments: those of `meterport`. variables: its METERPORT_*."""
        self._bundle = Path(tempfile.mkdtemp(prefix="meterport-image-"))
        (self._bundle / "data").mkdir()
        shutil.chown(self._bundle / "data", _USER, _USER)
        self._options = ["--root", str(self._bundle / "state")]
        subprocess.run(["runc", "spec", "--bundle", str(self._bundle)], check=True)
        config = self._bundle / "config.json"
        config.write_text(json.dumps(self._specified(json.loads(config.read_text()), root, arguments, variables)))
        self.log = self._bundle / "log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["runc", *self._options, "run", "--bundle", str(self._bundle), self._bundle.name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.signal(signal.SIGKILL)
            self._process.wait(30)
        shutil.rmtree(self._bundle)

    def _specified(
        self, spec: dict[str, Any], root: Path, arguments: Sequence[str], variables: Mapping[str, str]
    ) -> dict[str, Any]:
        process, linux = spec["process"], spec["linux"]
        own = {"PYTHONPATH": "/app", "PYTHONDONTWRITEBYTECODE": "1", "METERPORT_DATA_DIR": DATA, **variables}
        process |= {
            "terminal": False,
            "user": {"uid": _USER, "gid": _USER},
            "args": ["/usr/bin/python3", "-m", "meterport", *arguments],
            "env": [f"{name}={value}" for name, value in own.items()],
            "cwd": "/",
            "capabilities": {name: [] for name in process["capabilities"]},
            "noNewPrivileges": True,
        }
        spec["root"] = {"path": str(root), "readonly": True}
        linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] != "network"]
        spec["mounts"] += [
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]},  # noqa: S108
            {"destination": DATA, "type": "bind", "source": str(self._bundle / "data"), "options": ["rbind", "rw"]},
        ]
        return spec

    def signal(self, number: signal.Signals) -> None:
        subprocess.run(["runc", *self._options, "kill", self._bundle.name, number.name], check=True)

    def wait(self, seconds: float = 60) -> int:
        """Wait until the process ends by itself, and return its status."""
        return self._process.wait(seconds)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def said(self) -> str:
        return self.log.read_text(errors="replace")
