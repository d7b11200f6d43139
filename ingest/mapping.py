"""Rows of a table to CloudEvents: which column becomes what, and what a cell's text becomes in JSON.

Owns: `Mapping` (what a user says about a file) and `RowEncoder` (the JSON of one row's event).
Values stay exact. The engine reads JSON number literals as doubles, so a number of a CSV file is a literal, as
written, up to 15 significant digits, and a string of all its digits beyond.
"""

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

import orjson

from engine.errors import InvalidEvent, InvalidRequest
from engine.local_times import read_zone, timestamp

COLUMN = "column:"
_ATTRIBUTES = ("id", "source", "type", "subject")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?\Z", re.ASCII)
_EXACT_DIGITS = 15  # every decimal of so many significant digits survives a double
Literals = Callable[[str], str | None]
Cells = Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a file.

    literal: turns a cell's text into JSON, or None where the key is to be left out; None: it holds what JSON cannot.
    """

    name: str
    literal: Literals | None


@dataclass(frozen=True, slots=True)
class Mapping:
    """How rows become events. Each of the texts is a constant, or `column:NAME`.

    id: `column:A,B`, joined; None: from the file's hash and the row's number. time_zone: of times without an offset.
    data: the columns that become the event's data; None: all that are used for nothing else. nulls: texts that mean
    an empty cell of a CSV file.
    """

    type: str | None = None
    source: str | None = None
    subject: str | None = None
    id: str | None = None
    time: str | None = None
    time_zone: str = "UTC"
    data: tuple[str, ...] | None = None
    nulls: tuple[str, ...] = ()

    @property
    def given(self) -> bool:
        """Whether anything was said about the columns."""
        return self != Mapping(time_zone=self.time_zone, nulls=self.nulls)

    @property
    def digest(self) -> str:
        """A short hash: another mapping of the same file is another import."""
        return hashlib.sha256(orjson.dumps(asdict(self))).hexdigest()[:12]


class RowEncoder:
    """Writes the event of a row.

    A file with the columns id, source, type and subject, and a mapping that says nothing, holds events: `data` is
    JSON, every further column an attribute. Any other file needs at least type, subject and time.
    Raises: InvalidRequest: what the mapping lacks, or names and the file does not have.
    """

    def __init__(self, columns: Sequence[Column], mapping: Mapping, file_hash: str) -> None:
        self._columns = columns
        self._positions = {column.name: at for at, column in enumerate(columns)}
        self._zone = read_zone(mapping.time_zone)
        self._file_hash = file_hash
        if len(self._positions) != len(columns):
            raise InvalidRequest("two columns have the same name")
        if not mapping.given and {*_ATTRIBUTES} <= {*self._positions}:
            self._parts = [self._attribute(column.name) for column in columns if column.name != "data"]
            self._data = self._json_data(self._positions.get("data"))
        else:
            self._parts, used = self._mapped(mapping)
            self._data = self._object_data(mapping.data, used)

    def encode(self, row: int, cells: Cells) -> bytes:
        """Return the JSON of the event of row number `row`. Raises: InvalidEvent: why there is none."""
        attributes = ",".join([part for write in self._parts if (part := write(row, cells))])
        return f'{{"specversion":"1.0",{attributes},"data":{self._data(cells)}}}'.encode()

    # attributes

    def _mapped(self, mapping: Mapping) -> tuple[list[Callable[[int, Cells], str]], set[int]]:
        missing = [name for name in ("type", "subject", "time") if getattr(mapping, name) is None]
        if missing:
            raise InvalidRequest(
                f"--{missing[0]} is missing: {COLUMN}NAME, or the same text for every row; "
                f"the file's columns are {', '.join(self._positions)}"
            )
        texts = {"source": mapping.source or "import", "type": mapping.type or "", "subject": mapping.subject or ""}
        parts, used = [self._id(mapping.id)], set(self._named(mapping.id))
        for name, text in {**texts, "time": mapping.time or ""}.items():
            if text.startswith(COLUMN):
                at = self._position(text.removeprefix(COLUMN))
                parts.append(self._from_column(name, at))
                used.add(at)
            else:
                parts.append(_constant(name, timestamp(text, self._zone) if name == "time" else text))
        return parts, used

    def _named(self, id_: str | None) -> list[int]:
        return [] if id_ is None else [self._position(name) for name in id_.removeprefix(COLUMN).split(",")]

    def _id(self, id_: str | None) -> Callable[[int, Cells], str]:
        if id_ is None:
            return lambda row, _: f'"id":"{self._file_hash}-{row}"'
        if not id_.startswith(COLUMN):
            raise InvalidRequest(f"--id must be {COLUMN}NAME or {COLUMN}A,B: one id for every row would make them one")
        positions = self._named(id_)
        if len(positions) == 1:
            return self._from_column("id", positions[0])

        def joined(_: int, cells: Cells) -> str:
            return f'"id":{json_string("/".join(_escaped(self._text(at, cells)) for at in positions))}'

        return joined

    def _from_column(self, name: str, at: int) -> Callable[[int, Cells], str]:
        zone = self._zone
        if name == "time":
            return lambda _, cells: f'"time":"{_timestamp(self._text(at, cells), zone)}"'
        return lambda _, cells: f'"{name}":{json_string(self._text(at, cells))}'

    def _attribute(self, name: str) -> Callable[[int, Cells], str]:
        """Write an attribute of a file of events; an empty one is left out, and missed later if it is required."""
        at = self._positions[name]
        written = self._from_column(name, at)
        if name == "specversion":
            return lambda _, __: ""
        if not re.fullmatch(r"[a-z0-9]+", name):
            raise InvalidRequest(f"column {name!r} is no attribute of an event; map the columns with --type and others")
        return lambda row, cells: written(row, cells) if cells[at] else ""

    def _text(self, at: int, cells: Cells) -> str:
        text = cells[at]
        if not text:
            raise InvalidEvent(f"column {self._columns[at].name} is empty", self._columns[at].name)
        return text

    def _position(self, name: str) -> int:
        if name not in self._positions:
            raise InvalidRequest(f"there is no column {name!r}; the file's columns are {', '.join(self._positions)}")
        return self._positions[name]

    # data

    def _object_data(self, names: Sequence[str] | None, used: set[int]) -> Callable[[Cells], str]:
        chosen = [at for at in range(len(self._columns)) if at not in used]
        if names is not None:
            chosen = [self._position(name) for name in names]
        writers = [(at, f"{json_string(self._columns[at].name)}:", self._literal(at)) for at in chosen]

        def write(cells: Cells) -> str:
            members = []
            for at, key, literal in writers:
                cell = cells[at]
                value = None if cell is None else literal(cell)
                if value is not None:
                    members.append(key + value)
            return f"{{{','.join(members)}}}"

        return write

    def _literal(self, at: int) -> Literals:
        column = self._columns[at]
        if column.literal is None:
            raise InvalidRequest(f"column {column.name!r} holds what JSON cannot; choose the others with --data")
        return column.literal

    def _json_data(self, at: int | None) -> Callable[[Cells], str]:
        def write(cells: Cells) -> str:
            text = None if at is None else cells[at]
            return check_json(text, "column data") if text else "null"

        return write


def check_json(text: str, name: str) -> str:
    """Return `text` if it is one JSON value, so that it cannot break out of where it is put. Raises: InvalidEvent."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidEvent(f"{name} is not JSON: {error}", "data") from None
    return text


@lru_cache(maxsize=65_536)
def json_string(text: str) -> str:
    """Return text as a JSON string."""
    try:
        return orjson.dumps(text).decode()
    except TypeError:
        raise InvalidEvent("a text is not UTF-8") from None


@lru_cache(maxsize=65_536)
def guessed_literal(text: str) -> str | None:
    """Return a cell of a CSV file as JSON: a number where a double holds it exactly, else a string; empty: None."""
    if not text:
        return None
    return text if _NUMBER.match(text) and _exact(text) else json_string(text)


def _exact(text: str) -> bool:
    mantissa, _, exponent = text.lower().partition("e")
    digits = mantissa.lstrip("-").replace(".", "").lstrip("0")
    if len(digits) > _EXACT_DIGITS:
        return False
    return not exponent or not digits or (math.isfinite(float(text)) and float(text) != 0)


def number_literal(text: str) -> str | None:
    """Return a number of a typed column as JSON; not a number: None. Raises: InvalidEvent: it is infinite."""
    if text.endswith("nan"):
        return None
    if text.endswith("inf"):
        raise InvalidEvent("a number is infinite", "data")
    return text


def _timestamp(text: str, zone: ZoneInfo) -> str:
    try:
        return timestamp(text, zone)
    except InvalidRequest as error:
        raise InvalidEvent(f"time {error}", "time") from None


def timestamp_literal(zone: ZoneInfo) -> Literals:
    """Return what writes a timestamp as RFC 3339."""
    return lambda text: f'"{_timestamp(text, zone)}"'


def _constant(name: str, text: str) -> Callable[[int, Cells], str]:
    part = f'"{name}":{json_string(text)}'
    return lambda _, __: part


_ESCAPES = str.maketrans({"%": "%25", "/": "%2F"})


def _escaped(text: str) -> str:
    """Escape what joins the parts of an id, so that a/b + c never meets a + b/c."""
    return text.translate(_ESCAPES)
