"""A real `meterport serve` in its own process, which tests can start, kill and end."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness import preloaded
from tests.harness.preloaded import METERPORT

SERVE = [*METERPORT, "serve"]
START_SECONDS = 240  # it starts within two; on a busy machine it may take much longer


class Server:
    """One data directory. When its process ends, another one can serve it. As a context manager it ends by SIGKILL."""

    def __init__(
        self, directory: Path, command: Sequence[str] = SERVE, variables: Mapping[str, str] | None = None
    ) -> None:
        self.directory = directory
        self._variables = dict(variables or {})
        self.url: str | None = None
        self.log = directory / "serve.log"
        self._log_start = 0  # the offset in the log file where this process's lines begin
        self._command = command
        self._process: preloaded.Started | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self, fault: str = "") -> None:
        """Start a process. Return when it listens, or when an armed fault has killed it before that."""
        self.launch(fault)
        try:
            self.url = self.listening("api")
        except AssertionError:
            self.kill()
            raise
        if self.url is None and not fault:
            raise AssertionError(f"died at start:\n{self.tail()}")

    def launch(self, fault: str = "") -> None:
        """Start a process, and do not wait for it."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("METERPORT_")}
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            start = log.tell()
            self._process = preloaded.start(
                [*self._command, "--data-dir", str(self.directory / "data"), "--port", "0"],
                stderr=log,
                env={**environment, **self._variables, "METERPORT_FAULT": fault},
            )
        self._log_start = start

    def telemetry_url(self) -> str:
        """Wait until the telemetry port listens, and return its URL. The API's port may listen earlier."""
        url = self.listening("telemetry")
        assert url is not None, f"died at start:\n{self.tail()}"
        return url

    def listening(self, name: str) -> str | None:
        """Wait until it listens for a purpose, and return the URL; None if it has ended."""
        deadline = time.monotonic() + START_SECONDS
        while self.running and time.monotonic() < deadline:
            found = re.search(rb"listening url=(\S+) for=" + name.encode(), self.log.read_bytes()[self._log_start :])
            if found:
                return found[1].decode()
            time.sleep(0.02)
        assert not self.running, f"not listening for {name} after {START_SECONDS} s:\n{self.tail()}"
        return None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Send SIGKILL: the end is as sudden as by the kernel or a power cut."""
        self.url = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def wait_for_death(self, seconds: float) -> bool:
        """Return whether the process died by itself within some seconds."""
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self.url = None
        return True

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def terminate(self) -> int:
        """Send SIGTERM, and return the exit status."""
        self.signal(signal.SIGTERM)
        assert self._process is not None
        return self._process.wait(60)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]
