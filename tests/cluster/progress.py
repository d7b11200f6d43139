"""The lines that `make cluster` prints: what it does, with the seconds since the start."""

import sys
import time
from collections.abc import Callable

Report = Callable[[str], None]


def reporter(began: float) -> Report:
    """Return a function that prints a line. Args: began: the start, as `time.monotonic` gave it in any process."""

    def report(line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:6.1f} s  {line}\n")
        sys.stdout.flush()

    return report
