"""Records on disk how far an import is, so that the next run continues where a killed one stopped.

Owns: `ImportPosition`, which says up to where the outcome of rows is known and counts the outcomes, and its file.
Limits: a position belongs to a file's content, not to its name, and to one data directory. The store may be another one
by now. So a position names its last rows, and a run that continues asks the store for them first.
"""

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from engine.config.permissions import check_directory, make_private
from engine.errors import ConfigurationError
from engine.events.outcome import EventName
from ingest.importer.columns import ColumnMapping
from ingest.importer.event_file import EventFile

_MAX_NUMBER = 2**53  # the largest number of rows, or of milliseconds


@dataclass(frozen=True, slots=True)
class ImportPosition:
    """Rows up to number `row` are done. Of the `read` rows some were `skipped` as invalid; the others were sent.

    stored: rows that this import has stored. uncounted: stored rows that some meter of their type left out, or whose
    type no meter has. known: rows that were stored before, or whose id an earlier row of the file has. late: rows that
    are in the event log, but were not stored when the import stopped waiting. since_ms: the stamp of the newest batch
    of events before the import began, 0 if there was none: what has a later stamp was stored by the import. began_ms:
    when the import began, by the clock of this process. last: some of the last rows that the store has.
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
        """The number of rows that became events."""
        return self.stored + self.known + self.late


class PositionFile:
    """The position of one import, on disk.

    Args: target: the server, if events do not go to the data directory. trusted: use the directory even if other users
    may write to it; such users can make an import leave out rows.
    Raises: ConfigurationError: other users could have prepared the directory.
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
        """Replace the position atomically. Raises: ConfigurationError: it cannot be written."""
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
                f"data_dir: cannot save the progress of the import in {directory}: {error.strerror}"
            ) from None
