"""How far an import is, on disk, so that a run that was killed goes on where it was.

Owns: `ImportPosition`, the rows whose outcome is known and what became of them, and the file it is kept in.
Limits: a position is kept for a file's content, not its name, and belongs to one data directory. The store may be
another one by now, so a position names its last rows, and whoever goes on from it asks the store for them first.
"""

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from engine.config.directories import check_directory, make_private
from engine.errors import ConfigurationError
from engine.events.outcome import EventName
from ingest.importer.columns import ColumnMapping
from ingest.importer.files import EventFile

_MAX_NUMBER = 2**53  # rows, or milliseconds


@dataclass(frozen=True, slots=True)
class ImportPosition:
    """Rows up to number `row` are done. Of `read` rows some were `skipped` as invalid, and the others sent.

    stored: those this import has stored. uncounted: those of them that some meter of their type left out, or whose
    type no meter has. known: those that were stored before, or whose id an earlier row of the file has. late: those
    that are in the event log, but were not stored when we stopped waiting. since_ms: when the newest batch of events
    was stamped before the import began, 0 if there was none: what has a later stamp was stored by the import.
    began_ms: when the import began, by the clock of this process. last: a few of the last rows that the store has.
    """

    row: int = 0
    read: int = 0
    stored: int = 0
    uncounted: int = 0
    known: int = 0
    late: int = 0
    skipped: int = 0
    since_ms: int = 0
    began_ms: int = field(default=0, compare=False)
    last: tuple[EventName, ...] = field(default=(), compare=False)

    @property
    def sent(self) -> int:
        """Rows that became events."""
        return self.stored + self.known + self.late


class PositionFile:
    """The position of one import, on disk.

    Args: target: which engine, if it is not that of the data directory. trusted: the directory is used even if others
        may write it: whoever does can have an import leave out rows.
    Raises: ConfigurationError: others could have prepared the directory.
    """

    def __init__(
        self, data_dir: Path, file: EventFile, mapping: ColumnMapping, target: str = "", trusted: bool = False
    ) -> None:
        self._name = file.name
        key = hashlib.sha256(f"{mapping.digest} {file.format} {target}".encode("utf-8", "surrogateescape"))
        self._path = data_dir / "imports" / f"{file.hash}-{key.hexdigest()[:12]}.json"
        for directory in () if trusted else (data_dir, self._path.parent):
            check_directory(directory)

    def load(self) -> ImportPosition | None:
        """Return the position; None if there is none, or none that can be read."""
        try:
            stored = orjson.loads(self._path.read_bytes())
            numbers = {name: int(stored[name]) for name in ImportPosition.__dataclass_fields__ if name != "last"}
            if not all(0 <= number <= _MAX_NUMBER for number in numbers.values()):
                return None
            return ImportPosition(
                **numbers, last=tuple(EventName(str(source), str(id_)) for source, id_ in stored["last"])
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, position: ImportPosition) -> None:
        """Replace the position, whole. Raises: ConfigurationError: it cannot be written."""
        new = self._path.with_suffix(".tmp")
        try:
            make_private(self._path.parent)
            last = [[*name] for name in position.last]
            stored: dict[str, Any] = {"file": self._name, **asdict(position), "last": last}
            new.write_bytes(orjson.dumps(stored))
            new.replace(self._path)
        except OSError as error:
            directory = self._path.parent
            raise ConfigurationError(
                f"data_dir: cannot keep how far it came in {directory}: {error.strerror}"
            ) from None
