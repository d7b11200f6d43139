"""Reads Parquet files as rows of texts: each value becomes its shortest exact text.

Owns: which types of columns can be data, and which can be an attribute of an event. Nothing passes through a float.
Limits: memory is a few hundred MB, however large the row groups are, because columns are read in pieces
(`_READ_BYTES`).
"""

from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import IO, Any
from uuid import UUID

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from engine.errors import InvalidEvent, InvalidRequest
from ingest.importer.cells import NOT_UTF8, Literals, check_json, json_string, number_literal
from ingest.importer.columns import Column
from ingest.importer.row_times import RowTimes

_BATCH_ROWS = 4096
_READ_BYTES = 1 << 20
_BYTE_TYPES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
_NOT_UTF8 = "\udcff"  # stands for a nested value whose bytes are not UTF-8, until its row is refused
_TEXT_TYPES = (
    *(pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_decimal),
    *(pa.types.is_date, pa.types.is_time, pa.types.is_null),
)


class ParquetFile:
    """An open Parquet file. `columns`: what its columns become; `rows`: its number of rows."""

    def __init__(self, file: IO[bytes], times: RowTimes) -> None:
        self._file = pq.ParquetFile(file, buffer_size=_READ_BYTES, pre_buffer=False)
        self._times = times
        self.rows = int(self._file.metadata.num_rows)
        self.columns = [_column(field, times) for field in self._file.schema_arrow]

    def cells(self, used: set[int]) -> Iterator[tuple[str | None, ...]]:
        """Yield the texts of each row. Columns that are not `used` are None."""
        for batch in self._file.iter_batches(_BATCH_ROWS):
            columns = [
                _to_texts(column, self._times) if index in used else [None] * len(column)
                for index, column in enumerate(batch.columns)
            ]
            yield from zip(*columns, strict=True)


def _column(field: pa.Field, times: RowTimes) -> Column:
    kind = _storage_type(field.type)
    literal = _literal(kind, times)
    return Column(
        field.name, literal, _unsuitable_content(kind) if literal is None or pa.types.is_nested(kind) else None
    )


def _unsuitable_content(kind: pa.DataType) -> str:
    """Return the name of what a column holds that cannot be an attribute of an event."""
    if pa.types.is_map(kind) or pa.types.is_struct(kind):
        return "maps" if pa.types.is_map(kind) else "structs"
    return "lists" if pa.types.is_nested(kind) else f"values of the kind {kind}"


def _storage_type(kind: pa.DataType) -> pa.DataType:
    """Return the type behind a dictionary, or behind an extension that only adds a name."""
    if pa.types.is_dictionary(kind):
        return _storage_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType) and not isinstance(kind, pa.UuidType | pa.JsonType):
        return _storage_type(kind.storage_type)
    return kind


def _literal(kind: pa.DataType, times: RowTimes) -> Literals | None:
    """Return the function that turns a value's text (`_to_texts`) into JSON; None if there is none."""
    if pa.types.is_floating(kind):
        return number_literal
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return str
    if pa.types.is_timestamp(kind):
        return lambda text: _timestamp(text, times)
    if isinstance(kind, pa.JsonType) or (pa.types.is_nested(kind) and not pa.types.is_map(kind)):
        return _json
    if isinstance(kind, pa.UuidType) or any(test(kind) for test in (*_TEXT_TYPES, *_BYTE_TYPES)):
        return json_string
    return None


def _to_texts(column: pa.Array, times: RowTimes) -> Iterable[str | None]:
    """Return every value as its shortest exact text. A null is None."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _to_texts(column.dictionary_decode(), times)
    if isinstance(kind, pa.UuidType):
        return [None if value is None else str(value) for value in column.to_pylist()]
    if isinstance(kind, pa.BaseExtensionType):
        return _to_texts(column.storage, times)
    if _literal(kind, times) is None:
        return [None] * len(column)
    if any(test(kind) for test in _BYTE_TYPES):
        return [None if value is None else _decode(value) for value in column.to_pylist()]
    if pa.types.is_nested(kind):
        values = column.cast(_in_utc(kind)).to_pylist()
        return [None if value is None else _nested_text(value, times) for value in values]
    if pa.types.is_timestamp(kind) and kind.tz:
        column = column.cast(pa.timestamp(kind.unit, "UTC"))
    if pa.types.is_date64(kind) or pa.types.is_float16(kind):
        column = column.cast(pa.date32() if pa.types.is_date64(kind) else pa.float32())
    texts: list[str | None] = column.cast(pa.string()).to_pylist()
    if pa.types.is_decimal(kind):
        return [None if text is None else format(Decimal(text), "f") for text in texts]
    return texts


def _in_utc(kind: pa.DataType) -> pa.DataType:
    """Return a nested type with its times in UTC: Python would otherwise need the file's zone, and may not know it."""
    if pa.types.is_timestamp(kind) and kind.tz:
        return pa.timestamp(kind.unit, "UTC")
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_in_utc(field.type)) for field in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        make = pa.list_ if pa.types.is_list(kind) else pa.large_list
        return make(kind.value_field.with_type(_in_utc(kind.value_type)))
    if pa.types.is_map(kind):
        return pa.map_(_in_utc(kind.key_type), kind.item_field.with_type(_in_utc(kind.item_type)))
    return kind


def _decode(value: bytes) -> str:
    """Return bytes as text. A byte that is not UTF-8 becomes a surrogate, and its row is refused."""
    return value.decode("utf-8", "surrogateescape")


def _timestamp(text: str, times: RowTimes) -> str:
    try:
        return f'"{times.as_data(text)}"'
    except InvalidRequest as error:
        raise InvalidEvent(f"time {error}", "time") from None


def _json(text: str) -> str:
    if text == _NOT_UTF8:
        raise InvalidEvent(NOT_UTF8)
    return check_json(text, "a nested value")


def _nested_text(value: Any, times: RowTimes) -> str:
    def plain(inner: Any) -> str:
        match inner:
            case bytes():
                return _decode(inner)
            case datetime():
                return times.as_data(inner.isoformat())
            case date() | time() | UUID():
                return str(inner) if isinstance(inner, UUID) else inner.isoformat()
            case Decimal():
                return format(inner, "f")
            case _:
                raise InvalidRequest(
                    f"a nested {type(inner).__name__} cannot be written as JSON; leave it out with --data"
                )

    try:
        return orjson.dumps(value, plain, orjson.OPT_PASSTHROUGH_DATETIME).decode()
    except TypeError as error:
        if isinstance(error.__cause__, InvalidRequest):
            raise error.__cause__ from None
        return _NOT_UTF8
