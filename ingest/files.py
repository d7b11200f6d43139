"""Files of events, and of rows that become events: newline-delimited JSON, CSV, Parquet.

Owns: reading each format as a stream, the number every row keeps however often the file is read, and telling a row
that is wrong (the rest can go on) from a file that is.
Nothing passes through a float: a CSV cell stays text, a Parquet value becomes its shortest exact text.
"""

import csv
import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from engine.errors import InvalidEvent, InvalidRequest
from engine.local_times import read_zone, timestamp
from ingest.mapping import (
    Cells,
    Column,
    Literals,
    Mapping,
    RowEncoder,
    check_json,
    csv_columns,
    json_string,
    number_literal,
    timestamp_literal,
)
from ingest.rows import Row, numbered

_PARQUET_ROWS = 4096
_CELL_BYTES = 16 << 20
_UNREADABLE = (OSError, EOFError, zlib.error, csv.Error, pa.ArrowException, UnicodeError)


class Format(StrEnum):
    """How a file is read."""

    NDJSON = "ndjson"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"


_ENDINGS = {
    ".ndjson": Format.NDJSON,
    ".jsonl": Format.NDJSON,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".parquet": Format.PARQUET,
}


class EventFile:
    """A file, by its content: `hash` (SHA-256, hex) and `rows`, how many it has at most, or None if that is unknown.

    Raises: InvalidRequest: no such file, or a name that does not tell the format.
    """

    def __init__(self, path: Path, format_: Format | None, mapping: Mapping) -> None:
        self.path = path
        self.format = format_ or _format_of(path)
        self._mapping = mapping
        self._nulls = frozenset(mapping.nulls)
        self._packed = path.suffix == ".gz"
        if self.format is Format.NDJSON and mapping.given:
            raise InvalidRequest("--type, --subject and their like are for CSV and Parquet; NDJSON holds whole events")
        try:
            self.hash, lines = _digest(path)
            self.rows = self._count(lines)
        except _UNREADABLE as error:
            raise _unreadable(path, error) from None

    @property
    def empty(self) -> bool:
        """Whether the file has no content at all."""
        return self.hash == hashlib.sha256().hexdigest()

    @property
    def ids_repeat(self) -> bool:
        """Whether two rows may have one id: ids made from rows are told apart."""
        return not self._mapping.makes_ids

    def _count(self, lines: int) -> int | None:
        if self.format is Format.PARQUET:
            return int(pq.ParquetFile(self.path).metadata.num_rows)
        return None if self._packed else lines

    def read(self, after: int = 0) -> Iterator[Row]:
        """Yield the rows behind row number `after`; blank lines have a number, but no row.

        Raises: InvalidRequest: the file cannot be read on, or not with this mapping.
        """
        reader = {Format.NDJSON: self._read_lines, Format.PARQUET: self._read_parquet}.get(self.format, self._read_csv)
        number = 0
        try:
            for row in numbered(reader()) if self._mapping.makes_ids else reader():
                number = row.number
                if number > after:
                    yield row
        except _UNREADABLE as error:
            raise _unreadable(self.path, error, number + 1) from None

    def _open(self) -> IO[bytes]:
        return gzip.open(self.path, "rb") if self._packed else self.path.open("rb")  # type: ignore[return-value]

    # one reader a format

    def _read_lines(self) -> Iterator[Row]:
        with self._open() as file:
            for number, line in enumerate(file, 1):
                text = line.strip(b" \t\r\n")
                if text:
                    yield Row(number, _whole_event(text))

    def _read_csv(self) -> Iterator[Row]:
        csv.field_size_limit(_CELL_BYTES)
        with self._open() as raw:
            # A byte that is not UTF-8 becomes a surrogate, which the encoder refuses in its row.
            lines = (line.decode("utf-8", "surrogateescape") for line in raw)
            reader = csv.reader(lines, delimiter="\t" if self.format is Format.TSV else ",", strict=True)
            header = [name.removeprefix("\ufeff") for name in next(reader, [])]
            if not header:
                raise InvalidRequest(f"{self.path}: the first line must name the columns")
            encoder = RowEncoder(csv_columns(header), self._mapping)
            for number, cells in enumerate(reader, 1):
                if cells:
                    yield Row(number, self._encoded(encoder, [self._cell(cell) for cell in cells], len(header)))

    def _cell(self, text: str) -> str | None:
        return None if text in self._nulls else text

    def _read_parquet(self) -> Iterator[Row]:
        with pq.ParquetFile(self.path) as file:
            zone = read_zone(self._mapping.time_zone)
            columns = [Column(field.name, _literal_of(field.type, zone)) for field in file.schema_arrow]
            encoder = RowEncoder(columns, self._mapping)
            number = 0
            for batch in file.iter_batches(_PARQUET_ROWS):
                texts = [_texts(column, zone) for column in batch.columns]
                for cells in zip(*texts, strict=True):
                    number += 1
                    yield Row(number, self._encoded(encoder, cells, len(columns)))

    def _encoded(self, encoder: RowEncoder, cells: Cells, width: int) -> bytes | InvalidEvent:
        if len(cells) != width:
            return InvalidEvent(f"{len(cells)} cells, but the first line names {width} columns")
        try:
            return encoder.encode(cells)
        except InvalidEvent as error:
            return error


def _format_of(path: Path) -> Format:
    name = path.with_suffix("") if path.suffix == ".gz" else path
    if name.suffix not in _ENDINGS or (name != path and name.suffix == ".parquet"):
        raise InvalidRequest(f"{path}: the name tells no format; give --format ndjson, csv, tsv or parquet")
    return _ENDINGS[name.suffix]


def _digest(path: Path) -> tuple[str, int]:
    """Return the SHA-256 of a file and how many lines it has."""
    digest, lines = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            lines += chunk.count(b"\n")
    return digest.hexdigest(), lines


def _unreadable(path: Path, error: Exception, number: int | None = None) -> InvalidRequest:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
    return InvalidRequest(f"{path}: {'' if not number else f'row {number}: '}{reason}")


def _whole_event(text: bytes) -> bytes | InvalidEvent:
    """Return a line that holds one JSON object: anything else would break the batch it is put in."""
    if not text.startswith(b"{"):
        return InvalidEvent("not a JSON object")
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return InvalidEvent(f"not JSON: {error}")
    return text


# Parquet values


def _literal_of(kind: pa.DataType, zone: ZoneInfo) -> Literals | None:
    """Return what turns a value's text (`_texts`) into JSON."""
    if pa.types.is_dictionary(kind):
        return _literal_of(kind.value_type, zone)
    if pa.types.is_floating(kind):
        return number_literal
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return str
    if pa.types.is_timestamp(kind):
        return timestamp_literal(zone)
    if pa.types.is_nested(kind) and not pa.types.is_map(kind):
        return partial(check_json, name="a nested value")
    return json_string if _has_text(kind) else None


def _has_text(kind: pa.DataType) -> bool:
    types = pa.types
    tests = (
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_decimal,
        types.is_date,
        types.is_time,
    )
    return any(test(kind) for test in tests) or bool(types.is_null(kind))


def _texts(column: pa.Array, zone: ZoneInfo) -> Iterable[str | None]:
    """Return every value as text, exactly: the shortest that names it. A null is None."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _texts(column.dictionary_decode(), zone)
    if _literal_of(kind, zone) is None:
        return [None] * len(column)
    if pa.types.is_nested(kind):
        return [None if value is None else _nested_text(value, zone) for value in column.to_pylist()]
    if pa.types.is_timestamp(kind) and kind.tz:
        column = column.cast(pa.timestamp(kind.unit, "UTC"))
    if pa.types.is_date64(kind) or pa.types.is_float16(kind):
        column = column.cast(pa.date32() if pa.types.is_date64(kind) else pa.float32())
    texts: list[str | None] = column.cast(pa.string()).to_pylist()
    if pa.types.is_decimal(kind):
        return [None if text is None else format(Decimal(text), "f") for text in texts]
    return texts


def _nested_text(value: Any, zone: ZoneInfo) -> str:
    def plain(inner: Any) -> str:
        match inner:
            case datetime():
                return timestamp(inner.isoformat(), zone)
            case date() | time():
                return inner.isoformat()
            case Decimal():
                return format(inner, "f")
            case _:
                raise InvalidRequest(
                    f"a nested {type(inner).__name__} cannot be written as JSON; leave it out by --data"
                )

    try:
        return orjson.dumps(value, plain, orjson.OPT_PASSTHROUGH_DATETIME).decode()
    except TypeError as error:
        raise error.__cause__ if isinstance(error.__cause__, InvalidRequest) else InvalidRequest(str(error)) from None
