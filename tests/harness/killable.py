"""A service in its own process, which tests can kill, stop, continue and end: the half that a broker and a store share.

Limits: one process at a time. What it writes to stderr is in `log`.
"""

import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from tests.harness import preloaded

STOP_SECONDS = 30


class Killable:
    """A directory, and the process that works in it. When the process ends, another one can take its place."""

    def __init__(self, directory: Path, log: str) -> None:
        self.directory = directory
        self.log = directory / log
        self._process: preloaded.Started | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Send SIGKILL, as the kernel would. It also ends a stopped process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> None:
        """Send SIGTERM: the process closes its files first. Kill it if that takes longer than STOP_SECONDS."""
        if self._process is None:
            return
        self.continue_()
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def stop_signal(self) -> None:
        """Send SIGSTOP, and wait until all threads have stopped: connections stay open, but nothing is answered.

        The signal stops a thread that runs on another processor a moment later, in which it could still answer.
        """
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + STOP_SECONDS
        while any(state != "T" for state in _thread_states(self._process.pid)):
            assert time.monotonic() < deadline, f"not stopped within {STOP_SECONDS} s"
            time.sleep(0.001)

    def continue_(self) -> None:
        """Send SIGCONT: requests that arrived in the meantime are answered now."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


def _thread_states(pid: int) -> list[str]:
    """Return the state of each thread of a process, as a letter. Source: proc_pid_stat(5)."""
    states = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            states.append((task / "stat").read_text().rpartition(")")[2].split()[0])
    return states
