"""A memory limit for processes, by a control group of the kernel (version 1 or 2).

Limits: it needs root and a writable hierarchy. Without these `ControlGroup.create` returns None, and the report says
that the memory was not limited.
"""

import os
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


class ControlGroup:
    """A control group with a memory limit in bytes. `command` starts a process in it."""

    def __init__(self, directory: Path, limit_file: str, limit_bytes: int) -> None:
        self._directory = directory
        directory.mkdir()
        (directory / limit_file).write_text(str(limit_bytes))

    @classmethod
    def create(cls, limit_bytes: int) -> "ControlGroup | None":
        """Return a new group, or None if this process may not create one."""
        name = f"meterport-attack-{os.getpid()}"
        for hierarchy, limit_file in ((_ROOT / "memory", "memory.limit_in_bytes"), (_ROOT, "memory.max")):
            if (hierarchy / "cgroup.procs").exists():
                try:
                    return cls(hierarchy / name, limit_file, limit_bytes)
                except OSError:
                    continue
        return None

    def command(self, command: list[str]) -> list[str]:
        """Return a command that enters the group and then executes `command`."""
        return ["sh", "-c", f'echo $$ >{self._directory}/cgroup.procs && exec "$0" "$@"', *command]

    def kills(self) -> int:
        """Return how many processes of the group the kernel has killed because of the limit."""
        for name in ("memory.oom_control", "memory.events"):
            path = self._directory / name
            if path.exists():
                fields = dict(line.split() for line in path.read_text().splitlines())
                return int(fields.get("oom_kill", 0))
        return 0

    def remove(self) -> None:
        """Remove the group. Its processes must have ended."""
        self._directory.rmdir()
