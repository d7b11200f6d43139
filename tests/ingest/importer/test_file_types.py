"""The bytes of a file tell its type: compressed files are read, and for other types a message says what to do (N23)."""

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.importer.columns import ColumnMapping
from tests.ingest.importer.source_files import EVENT, ROWS, TABLE, TWO, read, refusal
from tests.ingest.importer.written_files import Write, write

__all__ = ["write"]  # a fixture of another file


def zstandard(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


@pytest.mark.parametrize("name", ["f.csv", "f.csv.gz", "f.csv.zst", "F.CSV", "F.CSV.GZ", "f.Csv.gZ"])
@pytest.mark.parametrize("pack", [gzip.compress, zstandard])
def test_gzip_and_zstandard_are_known_by_their_bytes(write: Write, name: str, pack: Any) -> None:
    """N23: the name of the file and its case do not matter."""
    assert read(write(name, pack(TABLE.encode()))) == TWO


def test_more_than_one_zstandard_frame_is_read_and_a_cut_one_is_not(write: Write) -> None:
    """N23"""
    frames = zstandard((EVENT % 1).encode()) + zstandard((EVENT % 2).encode())

    assert len(read(write("f.ndjson.zst", frames), ColumnMapping())) == 2
    assert refusal(write("f.ndjson.zst", frames[:-5]), ColumnMapping()).endswith("its compressed data is cut off")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda packed: packed[:-9], "its compressed data is cut off"),
        (lambda packed: packed + b"more", "its gzip data is followed by something else"),
        (lambda packed: packed[:-8] + b"\0\0\0\0" + packed[-4:], "its gzip data is damaged: the checksum differs"),
        (lambda packed: packed[:12] + b"\xff\xff\xff" + packed[15:], "its gzip data is damaged"),
    ],
    ids=["cut off", "followed", "check sum", "block"],
)
def test_damaged_gzip_is_told_in_our_words(write: Write, damage: Any, reason: str) -> None:
    """N23: the message of a library and bytes of the file do not help a user."""
    said = refusal(write("f.csv.gz", damage(gzip.compress(TABLE.encode()))))

    assert said.endswith(f": {reason}")


def archive(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("f.csv", content)
    return file.getvalue()


def parquet(content: bytes) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"a": [content]}), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("pack", "reason"),
    [
        (archive, "it is a zip archive or an Excel workbook: unpack it, or save its sheet as CSV"),
        (bz2.compress, "it is packed with bzip2: unpack it first"),
        (lzma.compress, "it is packed with xz: unpack it first"),
        (parquet, "it is Parquet: give --format parquet"),
        (
            lambda _: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99),
            "it is an old Excel workbook: save its sheet as CSV",
        ),
        (lambda _: bytes(range(256)), "unknown file type: it is neither text nor Parquet"),
        (lambda _: b"Obj\x01\x04\x14", "it is Avro: convert it to Parquet or NDJSON"),
        (lambda _: b"<!DOCTYPE html>\n<html>", "it is an HTML page, such as the login page of a server"),
    ],
    ids=["zip", "bzip2", "xz", "parquet", "excel", "unknown", "avro", "html"],
)
@pytest.mark.parametrize("name", ["f.csv", "f.ndjson"])
def test_another_form_is_named_and_what_to_do(write: Write, name: str, pack: Any, reason: str) -> None:
    """N23: before, it was read as broken data of the format that its name suggests."""
    mapping = ColumnMapping() if name == "f.ndjson" else ROWS

    assert refusal(write(name, pack(TABLE.encode())), mapping) == f"{name}: {reason}"
    assert refusal(write(f"{name}.gz", gzip.compress(pack(TABLE.encode()))), mapping) == f"{name}.gz: {reason}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (TABLE.encode, "it is not a Parquet file, or not a complete one: its end is missing"),
        (lambda: parquet(b"x")[:-3], "it is not a Parquet file, or not a complete one: its end is missing"),
        (lambda: gzip.compress(parquet(b"x")), "it is packed with gzip: unpack it first"),
        (lambda: archive(b""), "it is a zip archive or an Excel workbook: unpack it, or save its sheet as CSV"),
        (lambda: b"", "it is empty, so it is not a Parquet file"),
    ],
    ids=["csv", "cut off", "gzip", "zip", "empty"],
)
def test_what_is_no_parquet_file_is_named(write: Write, content: Callable[[], bytes], reason: str) -> None:
    """N23"""
    assert refusal(write("f.parquet", content())) == f"f.parquet: {reason}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'[{"id":"1"}]\n', "not a JSON object but an array: write one event per line, for example with jq -c '.[]'"),
        (
            b'{\n  "id": "1"\n}\n',
            "not JSON: the object continues on the next line; write one event per line, for example with jq -c .",
        ),
    ],
)
def test_json_that_is_not_one_event_a_line_says_how_to_make_it_so(write: Write, content: bytes, reason: str) -> None:
    """Like N23: before, an unsupported format was reported as broken data of a supported one."""
    assert read(write("f.ndjson", content), ColumnMapping())[0] == reason
