"""`meterport ingest` and `meterport api` as separate processes, killed, and started again as by a supervisor.

Owns: `Process`, which runs one process after another under one name, and `Fleet`, which starts dead processes again and
records how each of them ended.
"""

import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.chaos.recovery import WAIT_SECONDS
from tests.harness import preloaded
from tests.harness.preloaded import METERPORT
from tests.harness.server import START_SECONDS

INGEST = (*METERPORT, "ingest")
API = (*METERPORT, "api", "--port", "0")
_SUPERVISION_SECONDS = 0.05
STOP_SECONDS = 60


class Process:
    """A name under which one process runs after another. `ready`: the regular expression of its log line when it works.

    `command`: the command of the next process that is started.
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
        self.is_supervised = False  # whether the supervisor starts it again after its end
        self.starts = 0
        self._directory = directory
        self.command = command
        self._variables = dict(variables)
        self._ready = re.compile(ready.encode())
        self._process: preloaded.Started | None = None
        self._began = 0  # the offset in the log file where this process begins

    def start(self, fault: str = "", variables: Mapping[str, str] | None = None) -> None:
        """Start a process, with a fault armed if `fault` names one. It does not wait until the process works."""
        assert not self.running
        self._directory.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("METERPORT_")}
        with self.log.open("ab") as log:
            self._began = log.tell()
            self._process = preloaded.start(
                self.command,
                stdout=log,
                stderr=log,
                env={**environment, **self._variables, **(variables or {}), "METERPORT_FAULT": fault},
            )
        self.starts += 1
        self.is_supervised = True

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def status(self) -> int | None:
        """The exit status of the last process: negative for a signal, None while it runs."""
        return self._process.poll() if self._process else None

    def find_in_log(self, pattern: bytes = b"") -> re.Match[bytes] | None:
        """Return the first match in this process's log, by default of the line that says that it works."""
        with self.log.open("rb") as log:
            log.seek(self._began)
            return (re.compile(pattern) if pattern else self._ready).search(log.read())

    def find_all_in_log(self, pattern: bytes) -> list[Any]:
        """Return all matches in this process's log: of each its one group, or a tuple of its groups."""
        with self.log.open("rb") as log:
            log.seek(self._began)
            return re.findall(pattern, log.read())

    def wait_until_ready(self, seconds: float = START_SECONDS) -> re.Match[bytes]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.running and self.find_in_log()
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError(f"{self.name} does not work after {seconds} s:\n{self.tail()}")

    def wait_for_death(self, seconds: float = WAIT_SECONDS) -> bool:
        """Return whether the process ended by itself within some seconds."""
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """Send SIGKILL, which also ends a stopped process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send SIGSTOP, SIGCONT or another."""
        assert self._process is not None
        self._process.send_signal(number)

    def terminate(self) -> int:
        """Send SIGTERM, tell the supervisor not to start it again, and return the exit status."""
        self.is_supervised = False
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end after SIGTERM:\n{self.tail()}") from None

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


class Fleet:
    """Processes under a supervisor, which starts a supervised process again as soon as it has ended.

    `faults`: the faults that are still to be armed (`point:n`), one with each start.
    """

    def __init__(self) -> None:
        self.members: list[Process] = []
        self.exits: list[tuple[str, int]] = []  # the name and status of each process that ended by itself
        self.kills = 0
        self.deaths_at: Counter[str] = Counter()  # how many processes died at each fault point
        self.faults: deque[str] = deque()
        self.variables_for: Callable[[str], Mapping[str, str]] = (
            lambda _: {}
        )  # the variables that a process needs to reach a fault point
        self.on_kill: Callable[[], None] = lambda: None
        self._armed: dict[str, str] = {}
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._supervisor.start()

    def add(self, process: Process) -> Process:
        with self._lock:
            self.members.append(process)
            self._start(process)
        return process

    def kill(self, process: Process, fault: str | None = None) -> None:
        """Send SIGKILL, and start the next process at once, with this fault armed or the next one of `faults`.

        If the killed process did not reach its own fault, that fault is armed again later.
        """
        with self._lock:
            if process.running:
                unreached = self._armed.pop(process.name, "")
                if unreached and process.takes_faults:
                    self.faults.append(unreached)
                process.kill()
                self._count_kill()
            else:
                self._record_end(process)
            self._start(process, fault)

    def retire(self, process: Process) -> int:
        """Send SIGTERM, and return the exit status. The process stays down until a scenario starts it."""
        with self._lock:
            process.is_supervised = False
            self._armed.pop(process.name, "")
        return process.terminate()

    def _start(self, process: Process, fault: str | None = None) -> None:
        if fault is None:
            fault = self.faults.popleft() if self.faults and process.takes_faults else ""
        self._armed[process.name] = fault
        process.start(fault, self.variables_for(fault))

    def _supervise(self) -> None:
        while not self._closing.wait(_SUPERVISION_SECONDS):
            with self._lock:
                for process in self.members:
                    if process.is_supervised and not process.running:
                        self._record_end(process)
                        self._start(process)

    def _record_end(self, process: Process) -> None:
        """Record how a process ended that this class has not killed."""
        fault, status = self._armed.pop(process.name, ""), process.status
        if status == -signal.SIGKILL:
            self.deaths_at[fault.partition(":")[0]] += 1
            self._count_kill()
        elif status is not None:
            self.exits.append((process.name, status))
            if fault and process.takes_faults:
                self.faults.append(fault)

    def _count_kill(self) -> None:
        self.kills += 1
        self.on_kill()

    def close(self) -> None:
        """Kill all processes that still run."""
        self._closing.set()
        self._supervisor.join()
        for process in self.members:
            process.kill()
