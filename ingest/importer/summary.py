"""The summary at the end of an import: what became of its rows, and the first rows that no meter can use as they are.

Owns: the words of the summary; `Report`, what a run has done so far; and `Uncounted`, which keeps a few reasons,
however many rows there are.
"""

from collections.abc import Iterator

from ingest.importer.positions import ImportPosition

_MAX_REASONS = 5
_VERBS = ("are", "is")  # the index is whether it is one row
_UNCOUNTED_WHY = "no meter has their type, or a meter of it left them out"
_LATE_TEXTS = (  # the index is whether it is one row
    "They are safe in the event log, and are stored when `meterport ingest` reaches them",
    "It is safe in the event log, and is stored when `meterport ingest` reaches it",
)


class Uncounted:
    """Why stored rows are not counted: the first few reasons, each with its first row and its number of rows."""

    def __init__(self) -> None:
        self._reasons: dict[str, tuple[int, int]] = {}
        self._others = 0

    def add(self, number: int, reason: str) -> None:
        """Add a row and its reason."""
        if reason in self._reasons:
            first, rows = self._reasons[reason]
            self._reasons[reason] = first, rows + 1
        elif len(self._reasons) < _MAX_REASONS:
            self._reasons[reason] = number, 1
        else:
            self._others += 1

    def lines(self) -> Iterator[str]:
        """Yield a line for each reason, and one for the rows that are not shown."""
        for reason, (first, rows) in self._reasons.items():
            others = f" and {rows - 1:,} more" if rows > 1 else ""
            yield f"  row {first:,}{others}: {'; '.join(reason.splitlines())}"
        if self._others:
            yield f"  and {counted(self._others, 'more row')} for other reasons"


class Report:
    """What a run did: it began at the position `before`, and is at `done`. `uncounted`: rows that meters left out."""

    def __init__(self) -> None:
        self.before: ImportPosition | None = None
        self.done = ImportPosition()
        self.uncounted = Uncounted()

    def reached(self, position: ImportPosition) -> None:
        """Note a position; the first one is where the run begins."""
        self.before = self.before or position
        self.done = position

    @property
    def moved(self) -> bool:
        """Whether the outcome of any row became known."""
        return self.before is not None and self.done.row > self.before.row

    def lines(self, seconds: float) -> Iterator[str]:
        """Yield the lines of the summary."""
        yield from summary(self.before or ImportPosition(), self.done, self.uncounted, seconds)


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, such as `1 row` or `2 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def summary(before: ImportPosition, done: ImportPosition, uncounted: Uncounted, seconds: float) -> Iterator[str]:
    """Yield the lines about a run that began at `before` and ended at `done`."""
    counts = {
        "stored": done.stored - before.stored,
        "already stored": done.known - before.known,
        "skipped": done.skipped - before.skipped,
    }
    outcomes = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    yield f"read {counted(done.read - before.read, 'row')}, {outcomes}, in {seconds:.1f} s{_earlier_runs(before)}"
    if left_out := done.uncounted - before.uncounted:
        yield f"of the rows stored, {left_out:,} {_VERBS[left_out == 1]} not counted by every meter: {_UNCOUNTED_WHY}"
        yield from uncounted.lines()
    if late := done.late - before.late:
        yield f"not stored yet: {counted(late, 'row')}. {_LATE_TEXTS[late == 1]}"


def _earlier_runs(before: ImportPosition) -> str:
    """Return the part about earlier runs, with the rows that meters left out: a killed run has not reported them."""
    if not before.read:
        return ""
    left_out = f"; of them, {before.uncounted:,} not counted by every meter" if before.uncounted else ""
    verb = "was" if before.read == 1 else "were"
    return f" ({counted(before.read, 'row')} {verb} read by an earlier run{left_out})"
