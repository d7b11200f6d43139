"""How the tests of the command line run a command, and read the tables that it prints."""

import subprocess
from collections.abc import Callable

KEY = "a-management-key"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def cells(table: str) -> list[list[str]]:
    """Return the cells of a printed table, without its horizontal rule."""
    return [line.split() for line in table.splitlines() if line.strip() and "──" not in line]
