"""Files into the engine, by the same way as any producer's events, restartable at every batch.

Owns: batches, what is done about a row that is refused, and the position: how many rows of which file, read how,
are durable. It is written after each batch that was accepted, so a run that was killed may send its last batch
again; the events keep their ids and are dropped as duplicates.
Limits: a position is kept for a file's content, not its name, and belongs to one data directory.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Dict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import orjson

from engine.errors import ConfigurationError, InvalidEvent, InvalidRequest, TooLarge
from ingest.files import EventFile
from ingest.mapping import Mapping
from ingest.rows import Row

BATCH_EVENTS = 2000
BATCH_BYTES = 8 << 20


class EventSink(Protocol):
    """Where events go."""

    def send_events(self, events: Sequence[bytes]) -> Dict[int, str]:
        """Make events durable, all or none of them; waits while the engine is busy.

        Returns: why each refused event (by its index) is refused; empty: all are durable.
        Raises: TooLarge: they are too long for one request.
        """
        ...

    def wait_until_stored(self, on_wait: Callable[[int], None]) -> None:
        """Return once all that was sent is usage; `on_wait` is told how many records are not."""
        ...


@dataclass(frozen=True, slots=True)
class Position:
    """Rows up to number `row` are done: `read` of them, `accepted` as events or `skipped` as invalid."""

    row: int = 0
    read: int = 0
    accepted: int = 0
    skipped: int = 0


class PositionFile:
    """The position of one import, on disk. `target`: which engine, if it is not that of the data directory."""

    def __init__(self, data_dir: Path, file: EventFile, mapping: Mapping, target: str = "") -> None:
        self._name = file.path.name
        key = hashlib.sha256(f"{mapping.digest} {file.format} {target}".encode()).hexdigest()[:12]
        self._path = data_dir / "imports" / f"{file.hash}-{key}.json"

    def load(self) -> Position:
        """Return the position; the start if there is none, or none that can be read."""
        try:
            stored = orjson.loads(self._path.read_bytes())
            return Position(**{name: int(stored[name]) for name in Position.__dataclass_fields__})
        except (OSError, ValueError, KeyError, TypeError):
            return Position()

    def save(self, position: Position) -> None:
        """Replace the position, whole. Raises: ConfigurationError: it cannot be written."""
        new = self._path.with_suffix(".tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(orjson.dumps({"file": self._name, **asdict(position)}))
            new.replace(self._path)
        except OSError as error:
            place = self._path.parent
            raise ConfigurationError(f"data_dir: cannot keep how far it came in {place}: {error.strerror}") from None


class Importer:
    """Moves rows into a sink.

    Args: on_batch: told the position after each batch. on_skip: told each row left out: number and reason; None:
        the first such row ends the import.
    """

    def __init__(
        self,
        sink: EventSink,
        positions: PositionFile,
        on_batch: Callable[[Position], None] = lambda _: None,
        on_skip: Callable[[int, str], None] | None = None,
    ) -> None:
        self._sink = sink
        self._positions = positions
        self._on_batch = on_batch
        self._on_skip = on_skip
        self._position = Position()

    def run(self, file: EventFile, restart: bool = False) -> Position:
        """Import a file from where an earlier run of it got to; `restart`: from its start.

        Raises: InvalidRequest: names file and row; every row before it is durable.
        """
        self._position = Position() if restart else self._positions.load()
        for rows in _batches(file.read(after=self._position.row)):
            try:
                self._deliver(rows)
            except InvalidEvent as error:
                raise InvalidRequest(f"{file.path}: row {self._position.row + 1}: {error}") from None
        return self._position

    def _deliver(self, rows: Sequence[Row]) -> None:
        """Make rows durable, or leave them out. Raises: InvalidEvent: of the row after the position."""
        good = [row for row in rows if isinstance(row.event, bytes)]
        refused = {row.number: str(row.event) for row in rows if isinstance(row.event, InvalidEvent)}
        if not refused or self._on_skip:
            try:
                refused |= self._refused(good)
            except TooLarge:
                self._halve(rows)
                return
        if not refused:
            self._advance(rows, 0)
        elif self._on_skip is None:
            self._stop_before(rows, refused)
        else:
            for number in sorted(refused):
                self._on_skip(number, refused[number])
            self._advance(rows, len(refused))

    def _refused(self, rows: Sequence[Row]) -> dict[int, str]:
        """Send rows, and again without those that are refused. Returns the reason of each of them by row number."""
        refused: dict[int, str] = {}
        while rows:
            answer = self._sink.send_events([row.event for row in rows if isinstance(row.event, bytes)])
            refused |= {rows[index].number: reason for index, reason in answer.items()}
            rows = [row for index, row in enumerate(rows) if index not in answer]
            if not answer or self._on_skip is None:
                break
        return refused

    def _halve(self, rows: Sequence[Row]) -> None:
        if len(rows) > 1:
            self._deliver(rows[: len(rows) // 2])
            self._deliver(rows[len(rows) // 2 :])
        else:
            self._deliver([replace(rows[0], event=InvalidEvent("longer than the engine takes"))])

    def _stop_before(self, rows: Sequence[Row], refused: Dict[int, str]) -> None:
        first = min(refused)
        before = [row for row in rows if row.number < first]
        if before:
            self._deliver(before)
        self._position = replace(self._position, row=first - 1)
        raise InvalidEvent(refused[first])

    def _advance(self, rows: Sequence[Row], skipped: int) -> None:
        done = self._position
        self._position = Position(
            row=rows[-1].number,
            read=done.read + len(rows),
            accepted=done.accepted + len(rows) - skipped,
            skipped=done.skipped + skipped,
        )
        self._positions.save(self._position)
        self._on_batch(self._position)


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Group rows by number and bytes; a row that is longer than a batch may be is one of its own."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        length = len(row.event) if isinstance(row.event, bytes) else 0
        if batch and (len(batch) == BATCH_EVENTS or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += length
    if batch:
        yield batch
