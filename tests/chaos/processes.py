"""`meterport ingest` and `meterport api` in processes of their own, killed and started again as a supervisor would.

Owns: `Process`, one after another under one name, and `Fleet`, which starts whatever died again and remembers how
each of them ended.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.harness.server import ROOT, START_SECONDS

INGEST = (sys.executable, "-m", "meterport", "ingest")
API = (sys.executable, "-m", "meterport", "api", "--port", "0")
_SUPERVISION_SECONDS = 0.05
STOP_SECONDS = 60


class Process:
    """One name, under which one process runs after another. `ready`: what its log says when it works.

    `command`: of the next that is started.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        command: Sequence[str],
        variables: Mapping[str, str],
        ready: str,
        takes_faults: bool = True,
    ) -> None:
        self.name = name
        self.takes_faults = takes_faults
        self.log = directory / f"{name}.log"
        self.wanted = False  # whether the supervisor starts it again
        self.starts = 0
        self._directory = directory
        self.command = command
        self._variables = dict(variables)
        self._ready = re.compile(ready.encode())
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0  # where in the log this process begins

    def start(self, fault: str = "", variables: Mapping[str, str] | None = None) -> None:
        """Start a process, with a fault point armed perhaps; returns at once."""
        assert not self.running
        self._directory.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("METERPORT_")}
        with self.log.open("ab") as log:
            self._began = log.tell()
            self._process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={**environment, **self._variables, **(variables or {}), "METERPORT_FAULT": fault},
            )
        self.starts += 1
        self.wanted = True

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def status(self) -> int | None:
        """How the last process ended: negative for a signal."""
        return self._process.poll() if self._process else None

    def said(self, pattern: bytes = b"") -> re.Match[bytes] | None:
        """Return what this process's log says that matches; by default, that it works."""
        with self.log.open("rb") as log:
            log.seek(self._began)
            return (re.compile(pattern) if pattern else self._ready).search(log.read())

    def all_said(self, pattern: bytes) -> list[Any]:
        """Return every match in what this process's log says: its one group, or a tuple of its groups."""
        with self.log.open("rb") as log:
            log.seek(self._began)
            return re.findall(pattern, log.read())

    def wait_until_ready(self, seconds: float = START_SECONDS) -> re.Match[bytes]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.running and self.said()
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError(f"{self.name} does not work after {seconds} s:\n{self.tail()}")

    def wait_for_death(self, seconds: float) -> bool:
        """Return whether the process ended by itself in time."""
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL; works on a stopped process too."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send SIGSTOP, SIGCONT or another."""
        assert self._process is not None
        self._process.send_signal(number)

    def terminate(self) -> int:
        """SIGTERM, and nobody starts it again; returns the exit status."""
        self.wanted = False
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end after SIGTERM:\n{self.tail()}") from None

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


class Fleet:
    """Processes under a supervisor: one that is wanted and ended is started again at once.

    `faults`: points still to be armed, `point:n`, one with each start.
    """

    def __init__(self) -> None:
        self.members: list[Process] = []
        self.exits: list[tuple[str, int]] = []  # of processes that ended by themselves
        self.kills = 0
        self.passed: Counter[str] = Counter()  # fault points at which a process died
        self.faults: deque[str] = deque()
        self.variables_of: Callable[[str], Mapping[str, str]] = lambda _: {}  # what a fault needs to be passed
        self.when_killed: Callable[[], None] = lambda: None
        self._armed: dict[str, str] = {}
        self._guard = threading.RLock()
        self._closing = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._supervisor.start()

    def add(self, process: Process) -> Process:
        with self._guard:
            self.members.append(process)
            self._start(process)
        return process

    def kill(self, process: Process, fault: str | None = None) -> None:
        """SIGKILL; the next one is started at once, with this fault armed or the next one of `faults`.

        A fault the killed one was armed with and did not pass is armed again later.
        """
        with self._guard:
            if process.running:
                unpassed = self._armed.pop(process.name, "")
                if unpassed and process.takes_faults:
                    self.faults.append(unpassed)
                process.kill()
                self._count_kill()
            else:
                self._mourn(process)
            self._start(process, fault)

    def retire(self, process: Process) -> int:
        """SIGTERM, for good until it is started by hand; returns the exit status."""
        with self._guard:
            process.wanted = False
            self._armed.pop(process.name, "")
        return process.terminate()

    def _start(self, process: Process, fault: str | None = None) -> None:
        if fault is None:
            fault = self.faults.popleft() if self.faults and process.takes_faults else ""
        self._armed[process.name] = fault
        process.start(fault, self.variables_of(fault))

    def _supervise(self) -> None:
        while not self._closing.wait(_SUPERVISION_SECONDS):
            with self._guard:
                for process in self.members:
                    if process.wanted and not process.running:
                        self._mourn(process)
                        self._start(process)

    def _mourn(self, process: Process) -> None:
        """Remember how a process ended that nobody here has killed."""
        fault, status = self._armed.pop(process.name, ""), process.status
        if status == -signal.SIGKILL:
            self.passed[fault.partition(":")[0]] += 1
            self._count_kill()
        elif status is not None:
            self.exits.append((process.name, status))
            if fault and process.takes_faults:
                self.faults.append(fault)

    def _count_kill(self) -> None:
        self.kills += 1
        self.when_killed()

    def close(self) -> None:
        """Kill everything that still runs."""
        self._closing.set()
        self._supervisor.join()
        for process in self.members:
            process.kill()
