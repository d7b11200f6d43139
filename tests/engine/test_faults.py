"""The code passes each fault point that can be armed. Otherwise a crash test would kill at a random time unnoticed."""

import re
import signal
import subprocess
import sys

import pytest

from engine import faults
from engine.errors import ConfigurationError
from tests.harness.preloaded import ROOT


def test_every_point_that_can_be_armed_is_passed() -> None:
    sources = [path.read_text() for folder in ("engine", "ingest", "api") for path in (ROOT / folder).rglob("*.py")]

    passed = {point for source in sources for point in re.findall(r'faults\.(?:hit|hit_within)\("([a-z.-]+)"', source)}

    assert passed == set(faults.POINTS)


def test_a_point_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"fault: 'ingest\.nowhere:1' is not one of"):
        faults.arm("ingest.nowhere:1")


def test_a_kill_within_a_step_comes_while_the_interpreter_is_held() -> None:
    """chDB holds the interpreter lock during a whole insert."""
    program = """
import ctypes
from engine import faults
faults.arm("ingest.in-insert")
faults.hit_within("ingest.in-insert", 0.05)
ctypes.PyDLL(None).sleep(60)
"""

    killed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, timeout=50)

    assert killed.returncode == -signal.SIGKILL
