"""The progress of long work on stderr: a bar on a terminal, otherwise one line every few seconds."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from engine.texts import printable

_LINE_SECONDS = 5


class _Lines:
    """Prints lines on stderr; those about progress at most once every few seconds."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._last_report = time.monotonic()

    def _print(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def _report(self, text: str) -> None:
        if time.monotonic() - self._last_report >= _LINE_SECONDS:
            self._last_report = time.monotonic()
            self._print(text)


class _BarOrLines(_Lines):
    """A context manager with a bar, if stderr is a terminal. `columns` follow the description and the bar."""

    def __init__(self, description: str, total: int | None, *columns: ProgressColumn, transient: bool = False) -> None:
        super().__init__()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        if self._console.is_terminal:
            name = TextColumn("{task.description}", markup=False)
            shown = (name, BarColumn(), MofNCompleteColumn(), *columns, TimeRemainingColumn())
            self._bar = Progress(*shown, console=self._console, transient=transient)
            self._task = self._bar.add_task(description, total=total, rate="–")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()


class SpoolProgress(_Lines):
    """Reports that an input is first read to its end, and every few seconds how much of it has been read."""

    def __init__(self) -> None:
        super().__init__()
        self._begun = False

    def update(self, label: str, size: int) -> None:
        """Show how many bytes have been read. Args: label: the name of the input."""
        if self._begun:
            self._report(f"{label}: {size / (1 << 20):,.0f} MiB so far")
        else:
            self._begun, self._last_report = True, time.monotonic()
            self._print(f"{label}: reading all of it; the import of its rows begins after that")


class ImportProgress(_BarOrLines):
    """Shows the progress of an import. Args: rows: the number of rows; None if unknown."""

    def __init__(self, name: str, rows: int | None) -> None:
        super().__init__(name, rows, TextColumn("rows"), TextColumn("{task.fields[rate]} rows/s"))
        self._name = name
        self._rows = rows
        self._first: int | None = None
        self._started = time.monotonic()

    def update(self, row: int) -> None:
        """Show progress. Args: row: the number of the last row that was sent."""
        self._first = row if self._first is None else self._first
        rate = f"{(row - self._first) / max(time.monotonic() - self._started, 0.001):,.0f}"
        if self._bar:
            self._bar.update(self._task, completed=row, rate=rate)
        else:
            total = "" if self._rows is None else f" of {self._rows:,}"
            self._report(f"{self._name}: {row:,}{total} rows, {rate} rows/s")

    def update_storing(self, records: int) -> None:
        """Show how many accepted records are not stored yet."""
        if self._bar:
            self._bar.update(self._task, description=f"storing, {records:,} to go")
        else:
            self._report(f"{self._name}: {records:,} events still to be stored")

    def print_note(self, text: str) -> None:
        """Print a line for the user."""
        self._print(printable(text))

    def print_skipped(self, number: int, reason: str) -> None:
        """Print that a row is left out, and why."""
        self._print(f"{self._name}: row {number} left out: {printable(reason)}")


class ReplayProgress(_BarOrLines):
    """Shows the progress of a replay of dead letters."""

    def __init__(self) -> None:
        super().__init__("dead letters", None, transient=True)

    def update(self, done: int, remaining: int) -> None:
        """Show how many letters were checked, and how many are left."""
        if self._bar:
            self._bar.update(self._task, completed=done, total=done + remaining)
        else:
            self._report(f"{done:,} of {done + remaining:,} dead letters")
