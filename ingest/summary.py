"""What an import says at its end: what became of its rows, and the first rows that no meter can use as they are.

Owns: the words of the summary, and `Uncounted`, which keeps a few reasons however many rows there are.
"""

from collections.abc import Iterator

from ingest.positions import Position

_SHOWN = 5


class Uncounted:
    """Why stored rows are not counted: the first few reasons, each with its first row and how many rows have it."""

    def __init__(self) -> None:
        self._reasons: dict[str, tuple[int, int]] = {}
        self._others = 0

    def add(self, number: int, reason: str) -> None:
        """Take up a row and its reason."""
        if reason in self._reasons:
            first, rows = self._reasons[reason]
            self._reasons[reason] = first, rows + 1
        elif len(self._reasons) < _SHOWN:
            self._reasons[reason] = number, 1
        else:
            self._others += 1

    def lines(self) -> Iterator[str]:
        """Yield a line for each reason, and one for the rows that are not shown."""
        for reason, (first, rows) in self._reasons.items():
            others = f" and {rows - 1:,} more" if rows > 1 else ""
            yield f"  row {first:,}{others}: {'; '.join(reason.splitlines())}"
        if self._others:
            yield f"  and {self._others:,} more rows for other reasons"


def summary(before: Position, done: Position, uncounted: Uncounted, seconds: float) -> Iterator[str]:
    """Yield the lines that say what a run did, which began at `before` and ended at `done`."""
    counts = {
        "stored": done.stored - before.stored,
        "already stored": done.known - before.known,
        "skipped": done.skipped - before.skipped,
    }
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    earlier = f" ({before.read:,} rows were read by an earlier run)" if before.read else ""
    yield f"read {done.read - before.read:,} rows, {told}, in {seconds:.1f} s{earlier}"
    if done.uncounted > before.uncounted:
        yield f"not counted by every meter of their type: {done.uncounted - before.uncounted:,} of the rows stored"
        yield from uncounted.lines()
    if done.late > before.late:
        yield (
            f"not stored yet: {done.late - before.late:,} rows. They are safe in the event log, and are stored when "
            "`meterport ingest` gets to them"
        )
