"""From rows of a table to CloudEvents: which column becomes which part of the event.

Owns: `Column` (a column of a file), `ColumnMapping` (what the user specifies about a file) and `RowEncoder` (the JSON
of one row's event). What a cell becomes in JSON is in ingest/importer/cells.py. If the rows have no ids,
ingest/importer/rows.py derives them.
"""

import csv
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from engine.errors import InvalidEvent, InvalidRequest
from ingest.importer.cells import Cells, Literals, check_json, guessed_literal, json_string, string_literal
from ingest.importer.row_times import Ambiguous, RowTimes, TimeUnit, utc_text
from ingest.importer.rows import EVENT_START, content_id

COLUMN = "column:"
TEXT = "text:"  # prefix of a constant that is also the name of a column
_ATTRIBUTES = ("id", "source", "type", "subject")
# attributes of a file of events that are written in another way than the rest
_WRITTEN_SEPARATELY = frozenset({"id", "specversion"})
_START_WITHOUT_ID = '{"specversion":"1.0"'
Attribute = Callable[[Cells], str | None]  # reads one attribute from a row; None: the row has none
Data = tuple[str, list[str]]  # the JSON of an event's data, and the names and cells it was made from


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a file.

    literal: turns the text of a cell into JSON, or returns None if the key is to be left out. It is None itself if the
    column contains values that JSON cannot represent.
    unsuitable: what the column holds, if that cannot be an attribute of an event; None if its cells are texts.
    """

    name: str
    literal: Literals | None
    unsuitable: str | None = None


def csv_columns(header: Sequence[str]) -> list[Column]:
    """Return the columns that the first line of a CSV file names. Blanks around a name are not part of it."""
    return [Column(name.strip(), guessed_literal) for name in header]


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """How rows become events. Each text is a constant (a prefix `text:` is removed), or `column:NAME`.

    id: `column:A,B`, whose cells are joined; the names are one line of CSV. None: the id is derived from the row
    (ingest/importer/rows.py).
    time_zone: the zone of times without an offset. data: the columns that become the event's data; None: all that are
    used for nothing else.
    nulls: texts that mean an empty cell of a CSV file. text: columns whose cells always become JSON strings.
    time_unit: the unit of times that are numbers. ambiguous: what a local time means that occurs twice.
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
    def maps_columns(self) -> bool:
        """Whether anything was specified about the columns."""
        nothing = ColumnMapping(
            time_zone=self.time_zone, nulls=self.nulls, time_unit=self.time_unit, ambiguous=self.ambiguous
        )
        return self != nothing

    @property
    def derives_ids(self) -> bool:
        """Whether the ids of rows are derived from the rows."""
        return self.maps_columns and self.id is None

    @property
    def digest(self) -> str:
        """A short hash: another mapping of the same file is another import. The mapping's texts need not be UTF-8."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:12]


class RowEncoder:
    """Writes the event of a row.

    A file with the columns id, source, type and subject, for which no mapping is given, holds events: `data` is JSON,
    and every further column is an attribute. Any other file needs at least type, subject and time.
    Raises: InvalidRequest: the mapping lacks something, or names something that the file does not have.
    """

    def __init__(self, columns: Sequence[Column], mapping: ColumnMapping, times: RowTimes) -> None:
        self._columns = columns
        self._indexes = {column.name: index for index, column in enumerate(columns)}
        self._times = times
        self.used: set[int] = set()  # indexes of the columns whose cells `encode` reads
        self._time_index: int | None = None
        self._series_columns: list[int] = []  # columns whose values name a series of rows in the order of time
        self._id: Attribute | None = None  # None: the id is derived from the row
        _check_names([column.name for column in columns])
        self._string_columns = {self._index_of(name) for name in mapping.text}
        if not mapping.maps_columns and {*_ATTRIBUTES} <= {*self._indexes}:
            self._series_columns = [self._indexes[name] for name in ("source", "type", "subject")]
            optional = {
                column.name: self._optional_attribute(column.name) for column in columns if column.name != "data"
            }
            attributes = {name: read for name, read in optional.items() if name not in _WRITTEN_SEPARATELY}
            self._id = optional["id"]
            self._data = self._json_data(self._indexes.get("data"))
        else:
            attributes, used = self._mapped_attributes(mapping)
            self._data = self._object_data(mapping.data, used)
        self._keys = [f'"{name}":' for name in attributes]
        self._readers = [*attributes.values()]

    def encode(self, cells: Cells) -> bytes:
        """Return the JSON of a row's event. Raises: InvalidEvent: why there is none."""
        texts = [read(cells) for read in self._readers]
        data, contents = self._data(cells)
        members = [key + json_string(text) for key, text in zip(self._keys, texts, strict=True) if text is not None]
        id_ = self._id(cells) if self._id else self._derived_id(texts, contents)
        named = EVENT_START + json_string(id_)[1:] if id_ is not None else _START_WITHOUT_ID
        return f'{",".join([named, *members])},"data":{data}}}'.encode()

    def _derived_id(self, texts: list[str | None], contents: list[str]) -> str:
        *named, time = [text or "" for text in texts]
        contents.sort()
        return content_id([*named, utc_text(time), *contents])

    # attributes

    def _mapped_attributes(self, mapping: ColumnMapping) -> tuple[dict[str, Attribute], set[int]]:
        missing = [f"--{name}" for name in ("type", "subject", "time") if getattr(mapping, name) is None]
        if missing:
            names = f"{' and '.join(filter(None, (', '.join(missing[:-1]), missing[-1])))}"
            raise InvalidRequest(
                f"{names} {'are' if missing[1:] else 'is'} missing: give {COLUMN}NAME, or a text that all rows get; "
                f"the file's columns are {', '.join(self._indexes)}"
            )
        texts = {
            "source": mapping.source or f"{TEXT}import",
            "type": mapping.type or "",
            "subject": mapping.subject or "",
        }
        self._id = self._joined_id(mapping.id)
        attributes, used = {}, set(self._id_indexes(mapping.id))
        for name, text in {**texts, "time": mapping.time or ""}.items():
            if text.startswith(COLUMN):
                index = self._attribute_index(text.removeprefix(COLUMN), name)
                attributes[name] = self._from_column(name, index)
                used.add(index)
                if name == "time":
                    self._time_index = index
                else:
                    self._series_columns.append(index)
            else:
                constant = self._constant_text(name, text)
                attributes[name] = _constant(self._times.constant(constant) if name == "time" else constant)
        return attributes, used

    def _constant_text(self, name: str, text: str) -> str:
        """Return a text for every row. Raises: InvalidRequest: it is also a column's name, which is probably meant."""
        if text in self._indexes:
            raise InvalidRequest(
                f"--{name}: {text!r} is also the name of a column: write {COLUMN}{text} for the cells of the column, "
                f"or {TEXT}{text} for this text in every row"
            )
        return text.removeprefix(TEXT)

    def _id_indexes(self, id_: str | None) -> list[int]:
        names = [] if id_ is None else column_names(id_.removeprefix(COLUMN))
        return [self._attribute_index(name, "id") for name in names]

    def _joined_id(self, id_: str | None) -> Attribute | None:
        if id_ is None:
            return None
        if not id_.startswith(COLUMN):
            raise InvalidRequest(f"--id must be {COLUMN}NAME or {COLUMN}A,B: every row needs its own id")
        indexes = self._id_indexes(id_)
        if len(indexes) == 1:
            return lambda cells: self._id_part(indexes[0], cells)
        return lambda cells: "/".join([_escaped(self._id_part(index, cells)) for index in indexes])

    def _id_part(self, index: int, cells: Cells) -> str:
        """Return one part of an id. Of two rows with the same local time, the later one has the offset in its id."""
        later = self._times.inferred_later if index == self._time_index else None
        return later or self._required_text(index, cells)

    def _from_column(self, name: str, index: int) -> Attribute:
        if name == "time":
            return lambda cells: self._time(index, cells)
        return lambda cells: self._required_text(index, cells)

    def _optional_attribute(self, name: str) -> Attribute:
        """Return a reader of an attribute in a file of events. It omits an empty one; later checks require some."""
        index = self._attribute_index(name, name)
        read = self._from_column(name, index)
        if not re.fullmatch(r"[a-z0-9]+", name):
            raise InvalidRequest(
                f"column {name!r} is not an attribute of an event; map the columns with --type and similar options"
            )
        return lambda cells: read(cells) if cells[index] else None

    def _time(self, index: int, cells: Cells) -> str:
        text = self._required_text(index, cells)
        series = "\0".join([cells[column] or "" for column in self._series_columns])
        try:
            return self._times.timestamp(text, series)
        except InvalidRequest as error:
            raise InvalidEvent(f"time {error}", "time") from None

    def _required_text(self, index: int, cells: Cells) -> str:
        text = cells[index]
        if not text:
            raise InvalidEvent(f"column {self._columns[index].name} is empty", self._columns[index].name)
        return text

    def _index_of(self, name: str) -> int:
        if name not in self._indexes:
            raise InvalidRequest(f"there is no column {name!r}; the file's columns are {', '.join(self._indexes)}")
        self.used.add(self._indexes[name])
        return self._indexes[name]

    def _attribute_index(self, name: str, attribute: str) -> int:
        index = self._index_of(name)
        if unsuitable := self._columns[index].unsuitable:
            raise InvalidRequest(f"column {name!r} holds {unsuitable}, which cannot be an event's {attribute}")
        return index

    # data

    def _object_data(self, names: Sequence[str] | None, used: set[int]) -> Callable[[Cells], Data]:
        chosen = [index for index in range(len(self._columns)) if index not in used]
        if names is not None:
            chosen = [self._index_of(name) for name in names]
        self.used.update(chosen)
        named = [(index, self._columns[index].name) for index in chosen]
        writers = [
            (index, f"{json_string(name)}:", f"{len(name)}:{name}", self._literal(index)) for index, name in named
        ]

        def write(cells: Cells) -> Data:
            members, contents = [], []
            for index, key, name, literal in writers:
                cell = cells[index]
                value = None if cell is None else literal(cell)
                if value is not None:
                    members.append(key + value)
                    contents.append(f"{name}{cell}")
            return f"{{{','.join(members)}}}", contents

        return write

    def _literal(self, index: int) -> Literals:
        column = self._columns[index]
        if column.literal is None:
            raise InvalidRequest(
                f"column {column.name!r} contains values that JSON cannot represent: leave it out, by naming the other "
                "columns with --data"
            )
        return string_literal if index in self._string_columns else column.literal

    def _json_data(self, index: int | None) -> Callable[[Cells], Data]:
        self.used.update(() if index is None else (index,))

        def write(cells: Cells) -> Data:
            text = None if index is None else cells[index]
            return (check_json(text, "column data") if text else "null"), []

        return write


def _check_names(names: Sequence[str]) -> None:
    """Check that no two columns have the same name. Raises: InvalidRequest."""
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if name in seen:
            which = f"{name!r}, columns {seen[name]} and {number}"
            raise InvalidRequest(f"two columns have the same name: {which}; rename one of them")
        seen[name] = number


def column_names(line: str) -> list[str]:
    """Return the names in a list of columns, which is one line of CSV. Raises: InvalidRequest."""
    try:
        (names,) = csv.reader([line], strict=True)
    except (csv.Error, ValueError):
        raise InvalidRequest(
            f'{line!r} is not a list of columns: write A,B, and a name with a comma as "A, B"'
        ) from None
    return names


def _constant(text: str) -> Attribute:
    return lambda _: text


_ESCAPES = str.maketrans({"%": "%25", "/": "%2F"})


def _escaped(text: str) -> str:
    """Escape the character that joins the parts of an id, so that a/b + c and a + b/c give different ids."""
    return text.translate(_ESCAPES)
