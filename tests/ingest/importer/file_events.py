"""Events as lines of a file, a mapping for a table of flights, and the events that are read from a file."""

from pathlib import Path
from typing import Any

import orjson

from engine.errors import InvalidEvent
from ingest.importer.columns import ColumnMapping
from ingest.importer.event_file import EventFile, FileFormat

EVENTS = ColumnMapping()
FLIGHT = ColumnMapping(type="flight", subject="column:carrier", time="column:at")


def lines(*ids: str) -> str:
    return "".join(
        f'{{"specversion":"1.0","id":"{id_}","source":"s","type":"t","subject":"u","data":{{"n":1.50}}}}\n'
        for id_ in ids
    )


def read(path: Path, mapping: ColumnMapping = EVENTS, format_: FileFormat | None = None) -> list[dict[str, Any]]:
    """Return the events of a file. An invalid row becomes {"invalid": reason}."""
    return [
        {"invalid": str(row.event)} if isinstance(row.event, InvalidEvent) else orjson.loads(row.event)
        for row in EventFile(path, format_, mapping).read()
    ]
