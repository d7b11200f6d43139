"""A small table and an event, as sources of an import, and what is read from such a source."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.errors import InvalidEvent, InvalidRequest
from engine.texts import printable
from ingest.importer.columns import ColumnMapping
from ingest.importer.event_file import EventFile, FileFormat

EVENT = '{"specversion":"1.0","id":"%s","source":"s","type":"t","subject":"a"}\n'
TABLE = "ts,who,n\n2026-11-01T00:00:00Z,a,1\n2026-11-02T00:00:00Z,ü,2\n"
TWO = [("a", {"n": 1}), ("ü", {"n": 2})]
ROWS = ColumnMapping(type="t", subject="column:who", time="column:ts")
OPTIONS = ("--type=t", "--subject=column:who", "--time=column:ts")


def read(path: Path, mapping: ColumnMapping = ROWS, format_: FileFormat | None = None) -> list[Any]:
    """Return the subject and data of each event of a file, or the reason for an invalid row."""
    rows = [row.event for row in EventFile(path, format_, mapping).read()]
    events = [str(row) if isinstance(row, InvalidEvent) else orjson.loads(row) for row in rows]
    return [event if isinstance(event, str) else (event["subject"], event.get("data")) for event in events]


def refusal(path: Path, mapping: ColumnMapping = ROWS, format_: FileFormat | None = None) -> str:
    """Return the one line that says why a file cannot be read, without the directory."""
    with pytest.raises(InvalidRequest) as refused:
        read(path, mapping, format_)
    return str(refused.value).replace(f"{printable(str(path.parent))}/", "")
