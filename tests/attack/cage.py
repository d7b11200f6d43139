"""A memory limit for the processes started in it, by a control group of the kernel's, version 1 or 2.

Limits: it needs root and a writable hierarchy; where there is none, `Cage.made` is None and whoever measures says so.
"""

import os
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


class Cage:
    """A control group with so many bytes of memory; `command` starts a process in it."""

    def __init__(self, directory: Path, limit_file: str, limit_bytes: int) -> None:
        self._directory = directory
        directory.mkdir()
        (directory / limit_file).write_text(str(limit_bytes))

    @classmethod
    def made(cls, limit_bytes: int) -> "Cage | None":
        """Return a new group, or None where this process may not make one."""
        name = f"meterport-attack-{os.getpid()}"
        for hierarchy, limit_file in ((_ROOT / "memory", "memory.limit_in_bytes"), (_ROOT, "memory.max")):
            if (hierarchy / "cgroup.procs").exists():
                try:
                    return cls(hierarchy / name, limit_file, limit_bytes)
                except OSError:
                    continue
        return None

    def command(self, command: list[str]) -> list[str]:
        """Return a command that puts itself into the group and goes on as `command`."""
        return ["sh", "-c", f'echo $$ >{self._directory}/cgroup.procs && exec "$0" "$@"', *command]

    def kills(self) -> int:
        """Return how many processes the kernel has killed for the limit."""
        for name in ("memory.oom_control", "memory.events"):
            path = self._directory / name
            if path.exists():
                fields = dict(line.split() for line in path.read_text().splitlines())
                return int(fields.get("oom_kill", 0))
        return 0

    def remove(self) -> None:
        """Remove the group; its processes have ended."""
        self._directory.rmdir()
