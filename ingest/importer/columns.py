"""Rows of a table to CloudEvents: which column becomes what.

Owns: `ColumnMapping` (what a user says about a file) and `RowEncoder` (the JSON of one row's event). What a cell
becomes in JSON is in ingest/importer/cells.py; ids of rows that name none are made by ingest/importer/rows.py.
"""

import csv
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

from engine.errors import InvalidEvent, InvalidRequest
from engine.instants import Instant, parse_instant
from ingest.importer.cells import Cells, Column, Literals, check_json, check_names, json_string, string_literal
from ingest.importer.local_times import Ambiguous, LocalTimes, TimeUnit
from ingest.importer.rows import START, content_id

COLUMN = "column:"
TEXT = "text:"  # before a constant that is the name of a column as well
_ATTRIBUTES = ("id", "source", "type", "subject")
_WRITTEN = frozenset({"id", "specversion"})  # of a file of events, by other means than the rest
_NAMELESS = '{"specversion":"1.0"'
Attribute = Callable[[Cells], str | None]  # reads one from a row; None: the row has none
Data = tuple[str, list[str]]  # the JSON of an event's data, and the names and cells it was made from


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """How rows become events. Each of the texts is a constant (`text:` before it is dropped), or `column:NAME`.

    id: `column:A,B`, joined; the names are one line of CSV. None: made from the row (ingest/importer/rows.py).
    time_zone: of times without an offset. data: the columns that become the event's data; None: all that are used for
    nothing else.
    nulls: texts that mean an empty cell of a CSV file. text: columns whose cells always become JSON strings.
    time_unit: what times that are numbers count. ambiguous: which is meant of a local time that occurs twice.
    """

    type: str | None = None
    source: str | None = None
    subject: str | None = None
    id: str | None = None
    time: str | None = None
    time_zone: str = "UTC"
    data: tuple[str, ...] | None = None
    nulls: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    time_unit: TimeUnit | None = None
    ambiguous: Ambiguous = Ambiguous.ERROR

    @property
    def given(self) -> bool:
        """Whether anything was said about the columns."""
        nothing = ColumnMapping(
            time_zone=self.time_zone, nulls=self.nulls, time_unit=self.time_unit, ambiguous=self.ambiguous
        )
        return self != nothing

    @property
    def makes_ids(self) -> bool:
        """Whether the ids of rows are made from the rows."""
        return self.given and self.id is None

    @property
    def digest(self) -> str:
        """A short hash: another mapping of the same file is another import. Its texts need not be UTF-8."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:12]


class RowEncoder:
    """Writes the event of a row.

    A file with the columns id, source, type and subject, and a mapping that says nothing, holds events: `data` is
    JSON, every further column an attribute. Any other file needs at least type, subject and time.
    Raises: InvalidRequest: what the mapping lacks, or names and the file does not have.
    """

    def __init__(self, columns: Sequence[Column], mapping: ColumnMapping, times: LocalTimes) -> None:
        self._columns = columns
        self._positions = {column.name: at for at, column in enumerate(columns)}
        self._times = times
        self.used: set[int] = set()  # the columns whose cells `encode` looks at
        self._time_at: int | None = None
        self._series: list[int] = []  # the columns whose values name a series of rows in the order of time
        self._id: Attribute | None = None  # None: the id is made from the row
        check_names([column.name for column in columns])
        self._texts = {self._position(name) for name in mapping.text}
        if not mapping.given and {*_ATTRIBUTES} <= {*self._positions}:
            self._series = [self._positions[name] for name in ("source", "type", "subject")]
            optional = {column.name: self._optional(column.name) for column in columns if column.name != "data"}
            attributes = {name: read for name, read in optional.items() if name not in _WRITTEN}
            self._id = optional["id"]
            self._data = self._json_data(self._positions.get("data"))
        else:
            attributes, used = self._mapped(mapping)
            self._data = self._object_data(mapping.data, used)
        self._keys = [f'"{name}":' for name in attributes]
        self._readers = [*attributes.values()]

    def encode(self, cells: Cells) -> bytes:
        """Return the JSON of the event of a row. Raises: InvalidEvent: why there is none."""
        texts = [read(cells) for read in self._readers]
        data, contents = self._data(cells)
        members = [key + json_string(text) for key, text in zip(self._keys, texts, strict=True) if text is not None]
        id_ = self._id(cells) if self._id else self._made_id(texts, contents)
        named = START + json_string(id_)[1:] if id_ is not None else _NAMELESS
        return f'{",".join([named, *members])},"data":{data}}}'.encode()

    def _made_id(self, texts: list[str | None], contents: list[str]) -> str:
        *named, time = [text or "" for text in texts]
        contents.sort()
        return content_id([*named, _instant(time), *contents])

    # attributes

    def _mapped(self, mapping: ColumnMapping) -> tuple[dict[str, Attribute], set[int]]:
        missing = [f"--{name}" for name in ("type", "subject", "time") if getattr(mapping, name) is None]
        if missing:
            said = f"{' and '.join(filter(None, (', '.join(missing[:-1]), missing[-1])))}"
            raise InvalidRequest(
                f"{said} {'are' if missing[1:] else 'is'} missing: {COLUMN}NAME, or the same text for every row; "
                f"the file's columns are {', '.join(self._positions)}"
            )
        texts = {
            "source": mapping.source or f"{TEXT}import",
            "type": mapping.type or "",
            "subject": mapping.subject or "",
        }
        self._id = self._joined_id(mapping.id)
        attributes, used = {}, set(self._named(mapping.id))
        for name, text in {**texts, "time": mapping.time or ""}.items():
            if text.startswith(COLUMN):
                at = self._text_position(text.removeprefix(COLUMN), name)
                attributes[name] = self._from_column(name, at)
                used.add(at)
                if name == "time":
                    self._time_at = at
                else:
                    self._series.append(at)
            else:
                constant = self._constant_text(name, text)
                attributes[name] = _constant(self._times.constant(constant) if name == "time" else constant)
        return attributes, used

    def _constant_text(self, name: str, text: str) -> str:
        """Return a text for every row. Raises: InvalidRequest: it is the name of a column, which seems to be meant."""
        if text in self._positions:
            raise InvalidRequest(
                f"--{name}: {text!r} is also the name of a column: write {COLUMN}{text} for the cells of the column, "
                f"or {TEXT}{text} for this text in every row"
            )
        return text.removeprefix(TEXT)

    def _named(self, id_: str | None) -> list[int]:
        names = [] if id_ is None else column_names(id_.removeprefix(COLUMN))
        return [self._text_position(name, "id") for name in names]

    def _joined_id(self, id_: str | None) -> Attribute | None:
        if id_ is None:
            return None
        if not id_.startswith(COLUMN):
            raise InvalidRequest(f"--id must be {COLUMN}NAME or {COLUMN}A,B: one id for every row would make them one")
        positions = self._named(id_)
        if len(positions) == 1:
            return lambda cells: self._key(positions[0], cells)
        return lambda cells: "/".join([_escaped(self._key(at, cells)) for at in positions])

    def _key(self, at: int, cells: Cells) -> str:
        """Return a part of an id: of two rows with the same local time, the later one has the offset in it."""
        later = self._times.inferred_later if at == self._time_at else None
        return later or self._text(at, cells)

    def _from_column(self, name: str, at: int) -> Attribute:
        if name == "time":
            return lambda cells: self._time(at, cells)
        return lambda cells: self._text(at, cells)

    def _optional(self, name: str) -> Attribute:
        """Read an attribute of a file of events; an empty one is left out, and missed later if it is required."""
        at = self._text_position(name, name)
        read = self._from_column(name, at)
        if not re.fullmatch(r"[a-z0-9]+", name):
            raise InvalidRequest(f"column {name!r} is no attribute of an event; map the columns with --type and others")
        return lambda cells: read(cells) if cells[at] else None

    def _time(self, at: int, cells: Cells) -> str:
        text = self._text(at, cells)
        series = "\0".join([cells[place] or "" for place in self._series])
        try:
            return self._times.timestamp(text, series)
        except InvalidRequest as error:
            raise InvalidEvent(f"time {error}", "time") from None

    def _text(self, at: int, cells: Cells) -> str:
        text = cells[at]
        if not text:
            raise InvalidEvent(f"column {self._columns[at].name} is empty", self._columns[at].name)
        return text

    def _position(self, name: str) -> int:
        if name not in self._positions:
            raise InvalidRequest(f"there is no column {name!r}; the file's columns are {', '.join(self._positions)}")
        self.used.add(self._positions[name])
        return self._positions[name]

    def _text_position(self, name: str, attribute: str) -> int:
        at = self._position(name)
        if unfit := self._columns[at].unfit:
            raise InvalidRequest(f"column {name!r} holds {unfit}, which can be no event's {attribute}")
        return at

    # data

    def _object_data(self, names: Sequence[str] | None, used: set[int]) -> Callable[[Cells], Data]:
        chosen = [at for at in range(len(self._columns)) if at not in used]
        if names is not None:
            chosen = [self._position(name) for name in names]
        self.used.update(chosen)
        named = [(at, self._columns[at].name) for at in chosen]
        writers = [(at, f"{json_string(name)}:", f"{len(name)}:{name}", self._literal(at)) for at, name in named]

        def write(cells: Cells) -> Data:
            members, contents = [], []
            for at, key, name, literal in writers:
                cell = cells[at]
                value = None if cell is None else literal(cell)
                if value is not None:
                    members.append(key + value)
                    contents.append(f"{name}{cell}")
            return f"{{{','.join(members)}}}", contents

        return write

    def _literal(self, at: int) -> Literals:
        column = self._columns[at]
        if column.literal is None:
            raise InvalidRequest(f"column {column.name!r} holds what JSON cannot; choose the others with --data")
        return string_literal if at in self._texts else column.literal

    def _json_data(self, at: int | None) -> Callable[[Cells], Data]:
        self.used.update(() if at is None else (at,))

        def write(cells: Cells) -> Data:
            text = None if at is None else cells[at]
            return (check_json(text, "column data") if text else "null"), []

        return write


@lru_cache(maxsize=65_536)
def _instant(text: str) -> str:
    """Return an RFC 3339 time in UTC, without saying so: two texts of one instant become the same."""
    if text.endswith(("Z", "+00:00")):
        return text.removesuffix("Z").removesuffix("+00:00")
    try:
        return Instant(parse_instant(text).nanos).text.removesuffix("Z")
    except ValueError:
        return text  # the year is out of range, which the server says


def column_names(line: str) -> list[str]:
    """Return the names of a list of columns, which is one line of CSV. Raises: InvalidRequest."""
    try:
        (names,) = csv.reader([line], strict=True)
    except (csv.Error, ValueError):
        raise InvalidRequest(f'{line!r} is no list of columns: write A,B, and a name with a comma as "A, B"') from None
    return names


def _constant(text: str) -> Attribute:
    return lambda _: text


_ESCAPES = str.maketrans({"%": "%25", "/": "%2F"})


def _escaped(text: str) -> str:
    """Escape what joins the parts of an id, so that a/b + c never meets a + b/c."""
    return text.translate(_ESCAPES)
