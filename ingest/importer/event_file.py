"""One file of an import, `EventFile`: newline-delimited JSON, or CSV or Parquet rows that become events.

Owns: reading each format as a stream; the number of each row, which is the same whenever the file is read; and the
distinction between an invalid row (the rest can continue) and an invalid file. Errors of libraries are translated into
our own messages.
Nothing passes through a float: a CSV cell stays text, and a Parquet value becomes its shortest exact text.
"""

import csv
import re
import zlib
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import chain
from pathlib import Path

import orjson
import pyarrow as pa

from engine.errors import InvalidEvent, InvalidRequest
from engine.texts import is_utf8, printable
from engine.usage.local_times import read_zone
from ingest.importer.cells import NOT_UTF8, Cells
from ingest.importer.columns import ColumnMapping, RowEncoder, csv_columns
from ingest.importer.encodings import encoding_of, lines_of, other_format
from ingest.importer.parquet import ParquetFile
from ingest.importer.row_times import RowTimes
from ingest.importer.rows import Row, number_occurrences
from ingest.importer.sources import OnSpool, Source, label_of

_CELL_BYTES = 16 << 20
_HEAD_BYTES = 64
_UNREADABLE = (OSError, EOFError, zlib.error, csv.Error, pa.ArrowException, UnicodeError)
_BYTE_ORDER_MARK = "\ufeff"
_SEPARATOR = re.compile(r'"?sep=(.)"?\r?\n?\Z')  # the line that tells Excel which character separates the cells


class FileFormat(StrEnum):
    """The format in which a file is read."""

    NDJSON = "ndjson"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"


_FORMATS_BY_SUFFIX = {
    ".ndjson": FileFormat.NDJSON,
    ".jsonl": FileFormat.NDJSON,
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.TSV,
    ".parquet": FileFormat.PARQUET,
}
_COMPRESSED_SUFFIXES = (".gz", ".zst")
_LIBRARY_MESSAGES = (  # words of csv, gzip, zlib and Arrow, and what they mean for the user of a file
    ("new-line character", "a cell without quotes contains a carriage return"),
    ("unexpected end of data", "unexpected end of data: a quote that begins a cell is never closed"),
    ("expected after", "a cell continues after its closing quote"),
    ("field larger than", f"a cell is longer than {_CELL_BYTES >> 20} MiB: is a quote never closed?"),
    ("Compressed file ended before", "its compressed data is cut off"),
    ("Truncated compressed stream", "its compressed data is cut off"),
    ("ZSTD", "its Zstandard data is damaged"),
    ("while decompressing", "its gzip data is damaged"),
    ("CRC check failed", "its gzip data is damaged: the checksum differs"),
    ("Incorrect length of data", "its gzip data is damaged: the length differs"),
    ("Not a gzipped file (", "its gzip data is followed by something else"),
    ("magic bytes not found", "it is not a Parquet file, or not a complete one: its end is missing"),
    ("file size is 0 bytes", "it is empty, so it is not a Parquet file"),
    ("utf-16", "its byte order mark says UTF-16, but its bytes are not"),
    ("utf-32", "its byte order mark says UTF-32, but its bytes are not"),
)


class EventFile:
    """A file, identified by its content.

    `hash`: SHA-256 in hex. `rows`: the most rows that the file can have; None if that is unknown.
    Raises: InvalidRequest: there is no such file, or its name does not show the format.
    """

    def __init__(
        self, path: Path, format_: FileFormat | None, mapping: ColumnMapping, on_spool: OnSpool = lambda _, __: None
    ) -> None:
        self.path = path
        self.format = format_ or _format_of(path)
        self._mapping = mapping
        self._nulls = frozenset(mapping.nulls)
        self._has_gzip_name = path.suffix.lower() == ".gz"
        if self.format is FileFormat.NDJSON and mapping.maps_columns:
            raise InvalidRequest(
                "--type, --subject and similar options are for CSV and Parquet; NDJSON holds whole events"
            )
        if self.format is FileFormat.NDJSON and mapping.time_unit:
            raise InvalidRequest("--time-unit is for CSV and Parquet; NDJSON holds whole events with their own times")
        self._times = self._new_times()
        try:
            self._source = Source(path, on_spool)
        except _UNREADABLE as error:
            raise _unreadable(label_of(path), error) from None
        self.label, self.name, self.hash = self._source.label, self._source.name, self._source.hash
        self.rows = self._count()

    def _new_times(self) -> RowTimes:
        return RowTimes(read_zone(self._mapping.time_zone), self._mapping.time_unit, self._mapping.ambiguous)

    @property
    def empty(self) -> bool:
        """Whether the file has no content at all."""
        return self._source.size == 0

    @property
    def ids_may_repeat(self) -> bool:
        """Whether two rows may have the same id. Derived ids never repeat: they include the occurrence's number."""
        return not self._mapping.derives_ids

    @property
    def ambiguous_earlier(self) -> int:
        """The number of rows whose time occurs twice and was read as the earlier of the two."""
        return self._times.earlier

    @property
    def ambiguous_later(self) -> int:
        """The number of rows whose time occurs twice and was read as the later of the two."""
        return self._times.later

    def _count(self) -> int | None:
        if self.format is FileFormat.PARQUET:
            return self._parquet().rows
        packed = self.path.suffix.lower() in _COMPRESSED_SUFFIXES
        return None if packed else self._source.lines or None

    def read(self, after: int = 0) -> Iterator[Row]:
        """Yield the rows after row number `after`. Blank lines are counted in the numbers, but are no rows.

        Raises: InvalidRequest: the file cannot be read any further, or not with this mapping.
        """
        reader = {FileFormat.NDJSON: self._read_lines, FileFormat.PARQUET: self._read_parquet}.get(
            self.format, self._read_csv
        )
        self._times, number = self._new_times(), 0
        try:
            for row in number_occurrences(reader()) if self._mapping.derives_ids else reader():
                number = row.number
                if number > after:
                    yield row
        except _UNREADABLE as error:
            raise _unreadable(self.label, error, number + 1) from None
        self._source.check_unchanged()

    # one reader for each format

    def _read_lines(self) -> Iterator[Row]:
        with lines_of(self._source, encoding_of(self._source, self._has_gzip_name)) as lines:
            for number, line in enumerate(lines, 1):
                text = line.removeprefix(_BYTE_ORDER_MARK).strip(" \t\r\n")
                if text:
                    yield Row(number, _event_of_line(text))

    def _read_csv(self) -> Iterator[Row]:
        csv.field_size_limit(_CELL_BYTES)
        with lines_of(self._source, encoding_of(self._source, self._has_gzip_name)) as lines:
            first = next(lines, "")
            delimiter = "\t" if self.format is FileFormat.TSV else ","
            if separator := _SEPARATOR.match(first):
                delimiter, first = separator[1], next(lines, "")
            reader = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
            try:
                header = next(reader, [])
            except csv.Error as error:
                raise _unreadable(f"{self.label}: the first line", error) from None
            if not header:
                raise InvalidRequest(f"{self.label}: the first line must name the columns")
            encoder = self._csv_encoder(header, delimiter)
            for number, cells in enumerate(reader, 1):
                if cells:
                    yield Row(number, self._encode_row(encoder, [self._cell(cell) for cell in cells], header))

    def _csv_encoder(self, header: list[str], delimiter: str) -> RowEncoder:
        for number, name in enumerate(header, 1):
            if not is_utf8(name):
                raise InvalidRequest(
                    f"{self.label}: the name of column {number}, {printable(name)}, is not UTF-8: "
                    "save the file as UTF-8, or convert it, for example with iconv -f CP1252 -t UTF-8"
                )
        try:
            return RowEncoder(csv_columns(header), self._mapping, self._times)
        except InvalidRequest as error:
            raise InvalidRequest(f"{error}{_delimiter_hint(header, delimiter)}") from None

    def _cell(self, text: str) -> str | None:
        return None if text in self._nulls else text

    def _parquet(self) -> ParquetFile:
        with self._source.open() as file:
            start = file.read(_HEAD_BYTES)
        other = "is packed with gzip: unpack it first" if start.startswith(b"\x1f\x8b") else other_format(start)
        if other and not start.startswith(b"PAR1"):
            raise InvalidRequest(f"{self.label}: it {other}")
        try:
            return ParquetFile(self._source.open(), self._times)
        except _UNREADABLE as error:
            raise _unreadable(self.label, error) from None

    def _read_parquet(self) -> Iterator[Row]:
        file = self._parquet()
        encoder = RowEncoder(file.columns, self._mapping, self._times)
        names = [column.name for column in file.columns]
        for number, cells in enumerate(file.cells(encoder.used), 1):
            yield Row(number, self._encode_row(encoder, cells, names))

    def _encode_row(self, encoder: RowEncoder, cells: Cells, names: Sequence[str]) -> bytes | InvalidEvent:
        if len(cells) != len(names):
            return InvalidEvent(f"{len(cells)} cells, but the first line names {len(names)} columns")
        try:
            return encoder.encode(cells)
        except InvalidEvent as error:
            if str(error) != NOT_UTF8:
                return error
            broken = next(name for name, cell in zip(names, cells, strict=True) if cell and not is_utf8(cell))
            return InvalidEvent(f"column {broken} is not UTF-8", error.field)


def _format_of(path: Path) -> FileFormat:
    name = path.with_suffix("") if path.suffix.lower() in _COMPRESSED_SUFFIXES else path
    suffix = name.suffix.lower()
    if suffix not in _FORMATS_BY_SUFFIX or (name != path and suffix == ".parquet"):
        raise InvalidRequest(f"{label_of(path)}: unknown file type; give --format ndjson, csv, tsv or parquet")
    return _FORMATS_BY_SUFFIX[suffix]


def _unreadable(label: str, error: Exception, number: int | None = None) -> InvalidRequest:
    message = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
    reason = next((ours for theirs, ours in _LIBRARY_MESSAGES if theirs in message), printable(message))
    return InvalidRequest(f"{label}: {'' if not number else f'row {number}: '}{reason}")


def _delimiter_hint(header: Sequence[str], delimiter: str) -> str:
    """Return a hint about the separator of a file whose first line is a single name, "" if there is none."""
    other = next((mark for mark in "\t;|," if mark != delimiter and mark in header[0]), None)
    if len(header) > 1 or other is None:
        return ""
    if other == "\t":
        return "; tabs seem to separate the cells: give --format tsv"
    if other == ",":
        return "; commas seem to separate the cells: give --format csv"
    return f"; if {other!r} separates the cells, insert the line sep={other} before the first line"


def _event_of_line(text: str) -> bytes | InvalidEvent:
    """Return a line that holds one JSON object, or why it does not: anything else would break its batch."""
    if text.startswith("["):
        return InvalidEvent("not a JSON object but an array: write one event per line, for example with jq -c '.[]'")
    if not text.startswith("{"):
        return InvalidEvent("not a JSON object")
    if text == "{":
        return InvalidEvent(
            "not JSON: the object continues on the next line; write one event per line, for example with jq -c ."
        )
    try:
        line = text.encode()
        orjson.loads(line)
    except UnicodeEncodeError:
        return InvalidEvent("not JSON: it is not UTF-8")
    except orjson.JSONDecodeError as error:
        return InvalidEvent(f"not JSON: {error}")
    return line
