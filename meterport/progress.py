"""The progress of an import on stderr: a bar on a terminal, otherwise one line every few seconds."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from engine.texts import printable

_LINE_SECONDS = 5


class SpoolProgress:
    """Reports that an input is first read to its end, and every few seconds how much of it has been read."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._last_report: float | None = None

    def update(self, label: str, size: int) -> None:
        """Show how many bytes have been read. Args: label: the name of the input."""
        if self._last_report is None:
            self._say(f"{label}: reading all of it; the import of its rows begins after that")
        elif time.monotonic() - self._last_report >= _LINE_SECONDS:
            self._say(f"{label}: {size / (1 << 20):,.0f} MiB so far")

    def _say(self, text: str) -> None:
        self._last_report = time.monotonic()
        self._console.print(Text(text), soft_wrap=True)


class ImportProgress:
    """A context manager that shows the progress of an import. Args: rows: the number of rows; None if unknown."""

    def __init__(self, name: str, rows: int | None) -> None:
        self._console = Console(stderr=True)
        self._name = name
        self._rows = rows
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._first: int | None = None
        self._started = self._last_report = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            name = TextColumn("{task.description}", markup=False)
            columns = (name, BarColumn(), MofNCompleteColumn(), TextColumn("rows"))
            rate = TextColumn("{task.fields[rate]} rows/s")
            self._bar = Progress(*columns, rate, TimeRemainingColumn(), console=self._console)
            self._task = self._bar.add_task(self._name, total=self._rows, rate="–")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, row: int) -> None:
        """Show progress. Args: row: the number of the last row that was sent."""
        self._first = row if self._first is None else self._first
        rate = f"{(row - self._first) / max(time.monotonic() - self._started, 0.001):,.0f}"
        if self._bar:
            self._bar.update(self._task, completed=row, rate=rate)
        else:
            total = "" if self._rows is None else f" of {self._rows:,}"
            self._line(f"{self._name}: {row:,}{total} rows, {rate} rows/s")

    def update_storing(self, records: int) -> None:
        """Show how many accepted records are not stored yet."""
        if self._bar:
            self._bar.update(self._task, description=f"storing, {records:,} to go")
        else:
            self._line(f"{self._name}: {records:,} events still to be stored")

    def print_note(self, text: str) -> None:
        """Print a line for the user."""
        self._console.print(Text(printable(text)), soft_wrap=True)

    def print_skipped(self, number: int, reason: str) -> None:
        """Print that a row is left out, and why."""
        self._console.print(Text(f"{self._name}: row {number} left out: {printable(reason)}"), soft_wrap=True)

    def _line(self, text: str) -> None:
        if time.monotonic() - self._last_report >= _LINE_SECONDS:
            self._last_report = time.monotonic()
            self._console.print(Text(text), soft_wrap=True)
