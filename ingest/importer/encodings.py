"""How the bytes of a file of rows are to be read: compression, encoding and line ends. The bytes themselves decide.

Owns: gzip and Zstandard, whatever the file's name says; byte order marks; UTF-16 and UTF-32 with such a mark; lines
that end in a lone carriage return; and the names of all other formats that could be taken for text by mistake.
"""

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

import pyarrow as pa

from engine.errors import InvalidRequest
from ingest.importer.sources import Source

_HEAD_BYTES = 1 << 16
LINE_CHARACTERS = 64 << 20
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_BYTE_ORDER_MARKS = (  # the longer ones first: the UTF-32 mark begins with the UTF-16 mark
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_FORMATS = (
    (rb"PAR1[^ -~\r\n]", "is Parquet: give --format parquet"),
    (rb"PK[\x03\x05][\x04\x06]", "is a zip archive or an Excel workbook: unpack it, or save its sheet as CSV"),
    (rb"\xd0\xcf\x11\xe0", "is an old Excel workbook: save its sheet as CSV"),
    (rb"BZh[1-9]1AY&SY", "is packed with bzip2: unpack it first"),
    (rb"\xfd7zXZ\x00", "is packed with xz: unpack it first"),
    (rb"\x04\x22\x4d\x18", "is packed with lz4: unpack it first"),
    (rb"ORC[^ -~\r\n\t]", "is ORC: convert it to Parquet or CSV"),
    (rb"Obj\x01", "is Avro: convert it to Parquet or NDJSON"),
    (rb"ARROW1\x00", "is an Arrow file: convert it to Parquet"),
    (rb"SQLite format 3\x00", "is an SQLite database: export the table as CSV"),
    (rb"%PDF-", "is a PDF document"),
    (rb"(?i)\s*<(!doctype html|html)[\s>]", "is an HTML page, such as the login page of a server"),
)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How lines of text are read. compression: `gzip`, `zstd` or "". newline: the character that ends a line."""

    compression: str
    codec: str
    newline: str


def other_format(head: bytes) -> str | None:
    """Return a description of bytes that are no text, or None."""
    return next((description for pattern, description in _OTHER_FORMATS if re.match(pattern, head)), None)


def encoding_of(source: Source, has_gzip_name: bool) -> Encoding:
    """Return how a source of text is read. Raises: InvalidRequest: it is no text, or not gzip; OSError and similar."""
    with source.open() as file:
        start = file.read(4)
    compression = "gzip" if start.startswith(_GZIP) else "zstd" if start == _ZSTD else ""
    if has_gzip_name and not compression and source.size:
        raise InvalidRequest(f"{source.label}: it is not gzip, though its name ends in .gz: rename it")
    head = _head(source, compression)
    if other := other_format(head):
        raise InvalidRequest(f"{source.label}: it {other}")
    codec = next((codec for mark, codec in _BYTE_ORDER_MARKS if head.startswith(mark)), "utf-8")
    if codec.startswith("utf-8") and head.count(b"\0") > len(head) // 4:
        raise InvalidRequest(
            f"{source.label}: it seems to be UTF-16 without a byte order mark, because half of its bytes are zero: "
            "save it as UTF-8"
        )
    if codec.startswith("utf-8") and b"\0" in head and not _is_utf8(head):
        raise InvalidRequest(f"{source.label}: unknown file type: it is neither text nor Parquet")
    return Encoding(compression, codec, "\r" if b"\r" in head and b"\n" not in head else "\n")


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _head(source: Source, compression: str) -> bytes:
    """Return the first bytes of a text. If its compressed data is damaged, return what comes before the damage."""
    head = b""
    with _decompressed(source, compression) as file, suppress(OSError, EOFError, zlib.error, pa.ArrowException):
        while len(head) < _HEAD_BYTES and (more := file.read1(_HEAD_BYTES - len(head))):  # type: ignore[attr-defined]
            head += more
    return head


@contextmanager
def lines_of(source: Source, encoding: Encoding) -> Iterator[Iterator[str]]:
    """Yield an iterator of a source's lines, with their line ends. A byte that is not UTF-8 becomes a surrogate."""
    with (
        _decompressed(source, encoding.compression) as file,
        io.TextIOWrapper(
            file,
            encoding.codec,
            "surrogateescape" if encoding.codec.startswith("utf-8") else "surrogatepass",
            newline=encoding.newline,
        ) as text,
    ):
        yield _lines(text, source.label)


def _lines(text: IO[str], label: str) -> Iterator[str]:
    number = 0
    while line := text.readline(LINE_CHARACTERS):
        number += 1
        if len(line) == LINE_CHARACTERS:
            raise InvalidRequest(f"{label}: line {number} is longer than {LINE_CHARACTERS >> 20} MiB: is it text?")
        yield line


@contextmanager
def _decompressed(source: Source, compression: str) -> Iterator[IO[bytes]]:
    with source.open() as raw:
        match compression:
            case "gzip":
                with gzip.open(raw, "rb") as file:
                    yield file  # type: ignore[misc]
            case "zstd":
                with io.BufferedReader(_Zstandard(raw), _HEAD_BYTES) as file:
                    yield file
            case _:
                yield raw


class _Zstandard(io.RawIOBase):
    """The decompressed bytes of one or more Zstandard frames."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._stream = pa.CompressedInputStream(pa.PythonFile(packed, "r"), "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk: bytes = self._stream.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)
