"""One program of the cluster in its own process, with a log file.

Limits: a program that ends by itself is not started again. It ends with the namespaces, if not before.
"""

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_STOP_SECONDS = 20
_POLL_SECONDS = 0.1
START_SECONDS = 180  # so long because the machine may be busy with other work


class Daemon:
    """A running program. `name` is that of its log, too."""

    def __init__(self, name: str, command: Sequence[str | Path], logs: Path) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait_until(self, holds: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """Raises: AssertionError: the program has ended, or `holds` did not become true in time."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert self.running, f"{self.name} has ended with status {self._process.returncode}:\n{self.tail()}"
            assert time.monotonic() < deadline, f"{self.name} does not work after {seconds} s:\n{self.tail()}"
            time.sleep(_POLL_SECONDS)

    def end(self) -> None:
        """Send SIGTERM, and SIGKILL if it takes too long."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]
