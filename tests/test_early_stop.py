"""A process that gets a stop signal ends with status 0, however early the signal comes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.preloaded import ROOT
from tests.harness.server import START_SECONDS
from tests.harness.services import skip_or_fail

_TERM = 1 << (signal.SIGTERM - 1)


def _catches_signals(process: subprocess.Popen[str], _: Path) -> bool:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) & _TERM)


def _holds_the_directory(_: subprocess.Popen[str], data: Path) -> bool:
    return (data / "lock").exists() and bool((data / "lock").read_text())


def _opened_the_log(_: subprocess.Popen[str], data: Path) -> bool:
    return (data / "log.sqlite").exists()


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        (_catches_signals, signal.SIGTERM),
        (_holds_the_directory, signal.SIGTERM),
        (_opened_the_log, signal.SIGINT),
        pytest.param(_catches_signals, signal.SIGINT, marks=pytest.mark.only_long),
        pytest.param(_holds_the_directory, signal.SIGINT, marks=pytest.mark.only_long),
        pytest.param(_opened_the_log, signal.SIGTERM, marks=pytest.mark.only_long),
    ],
)
def test_a_service_told_to_stop_while_it_starts_ends_with_0(
    tmp_path: Path, moment: Callable[[subprocess.Popen[str], Path], bool], number: signal.Signals
) -> None:
    if not Path("/proc/self/status").exists():
        skip_or_fail("needs /proc, which shows the signals that a process handles")
    data = tmp_path / "data"
    command = [sys.executable, "-m", "meterport", "serve", "--data-dir", str(data), "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("METERPORT_")}
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment) as process:
        deadline = time.monotonic() + START_SECONDS
        while not moment(process, data):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(number)
        errors = process.communicate(timeout=START_SECONDS)[1]

    assert (process.returncode, "Traceback" in errors) == (0, False), errors
