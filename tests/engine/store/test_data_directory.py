"""One process at a time has a data directory, and one that was left by a killed process is free."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import DataDirectoryInUse
from engine.store.data_directory import DirectoryLock

SECOND = """
import sys
from pathlib import Path
from engine.instants import milliseconds, utc_now
from engine.store.data_directory import DirectoryLock
from engine.errors import DataDirectoryInUse
try:
    DirectoryLock(Path(sys.argv[1]))
    print("taken")
except DataDirectoryInUse as error:
    print(error)
"""


def _second_process(directory: Path) -> str:
    command = [sys.executable, "-c", SECOND, str(directory)]
    root = Path(__file__).parents[3]
    return subprocess.run(command, cwd=root, timeout=20, capture_output=True, text=True, check=True).stdout.strip()


def test_a_second_process_on_the_same_directory_is_told_which_one_has_it(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)

    told = _second_process(tmp_path)
    with pytest.raises(DataDirectoryInUse):
        DirectoryLock(tmp_path)
    lock.release()

    assert told == f"{tmp_path} is in use by another meterport process (pid {os.getpid()})"
    assert _second_process(tmp_path) == "taken"


def test_a_directory_that_was_left_by_a_killed_process_is_free(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("99999999999")

    DirectoryLock(tmp_path).release()

    assert (tmp_path / "lock").read_text() == str(os.getpid())
