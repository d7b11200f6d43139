"""Text files are read as spreadsheets and databases write them: byte order marks, encodings, delimiters, column names.

Cases N5 and N23.
"""

import codecs
import gzip
from typing import Any

import pytest

from ingest.importer.columns import ColumnMapping
from tests.ingest.importer.source_files import EVENT, TABLE, TWO, read, refusal
from tests.ingest.importer.written_files import Write, write

__all__ = ["write"]  # a fixture of another file


# byte order marks (N5)


@pytest.mark.parametrize(("name", "pack"), [("f.csv", bytes), ("f.csv.gz", gzip.compress), ("f.tsv", bytes)])
def test_a_byte_order_mark_before_a_quote_is_no_part_of_the_name(write: Write, name: str, pack: Any) -> None:
    """N5: Excel writes the byte order mark, and exports of databases write the quotes."""
    table = TABLE.replace("ts,who", '"ts","who"')
    text = table.replace(",", "\t") if "tsv" in name else table
    path = write(name, pack(codecs.BOM_UTF8 + text.encode()))

    assert read(path) == TWO


def test_a_first_name_with_a_comma_is_one_name_behind_a_mark(write: Write) -> None:
    """N5"""
    path = write("f.csv", codecs.BOM_UTF8 + b'"cost, total",ts,who\r\n5,2026-11-01,a\r\n')

    assert read(path) == [("a", {"cost, total": 5})]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_marks_of_ndjson_are_passed_over_where_files_were_joined_too(write: Write, pack: Any) -> None:
    """N5: before, --skip-invalid left out the first event."""
    one, two = (codecs.BOM_UTF8 + (EVENT % number).encode() for number in "12")
    path = write("f.ndjson.gz" if pack is gzip.compress else "f.ndjson", pack(one) + pack(two))

    assert read(path, ColumnMapping()) == [("a", None), ("a", None)]


# how text is encoded (N23)


@pytest.mark.parametrize("codec", ["utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_utf_16_with_its_mark_is_read(write: Write, codec: str, end: str) -> None:
    """N23: spreadsheets write this as "Unicode Text"."""
    assert read(write("f.csv", TABLE.replace("\n", end).encode(codec))) == TWO
    assert read(write("f.csv.gz", gzip.compress(TABLE.encode(codec)))) == TWO
    assert read(write("f.ndjson", (EVENT % 1).encode(codec)), ColumnMapping()) == [("a", None)]


def test_utf_16_without_a_mark_is_named(write: Write) -> None:
    """N23"""
    assert refusal(write("f.csv", TABLE.encode("utf-16-le"))) == (
        "f.csv: it seems to be UTF-16 without a byte order mark, because half of its bytes are zero: save it as UTF-8"
    )


def test_utf_16_that_is_cut_off_is_said_in_our_words(write: Write) -> None:
    """N23"""
    assert refusal(write("f.csv", TABLE.encode("utf-16")[:-1])).endswith(
        "its byte order mark says UTF-16, but its bytes are not"
    )


def test_a_header_that_is_not_utf_8_is_named_with_its_place(write: Write) -> None:
    """N23"""
    assert refusal(write("f.csv", "ts,who,Größe\n2026-11-01,a,1\n".encode("cp1252"))) == (
        "f.csv: the name of column 3, Gr\\xf6\\xdfe, is not UTF-8: "
        "save the file as UTF-8, or convert it, for example with iconv -f CP1252 -t UTF-8"
    )


def test_a_cell_that_is_not_utf_8_is_an_error_of_its_row(write: Write) -> None:
    """N23"""
    path = write("f.csv", "ts,who,n\n2026-11-01,a,ö\n2026-11-01,ö,1\n2026-11-01,a,1\n".encode("cp1252"))

    assert read(path) == ["column n is not UTF-8", "column who is not UTF-8", ("a", {"n": 1})]


@pytest.mark.parametrize("name", ["f.csv", "f.ndjson"])
def test_lines_may_end_in_a_lone_carriage_return(write: Write, name: str) -> None:
    """N23: files of old spreadsheets."""
    if name == "f.csv":
        assert read(write(name, TABLE.replace("\n", "\r").encode())) == TWO
    else:
        assert len(read(write(name, (EVENT % 1 + EVENT % 2).replace("\n", "\r").encode()), ColumnMapping())) == 2


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (b"a\rb,2026-11-01\n", "row 1: a cell without quotes contains a carriage return"),
        (b'"a,2026-11-01\n', "row 1: unexpected end of data: a quote that begins a cell is never closed"),
        (b'"a"b,2026-11-01\n', "row 1: a cell continues after its closing quote"),
        (
            b'"' + b"a" * (16 << 20) + b'a",2026-11-01\n',
            "row 1: a cell is longer than 16 MiB: is a quote never closed?",
        ),
    ],
    ids=["return", "open", "behind", "long"],
)
def test_csv_that_is_broken_is_told_in_our_words(write: Write, rows: bytes, reason: str) -> None:
    """N23: messages of Python's csv module speak of its arguments, which users do not know."""
    assert refusal(write("f.csv", b"who,ts\n" + rows)) == f"f.csv: {reason}"


def test_a_first_line_that_is_broken_is_not_told_as_a_row(write: Write) -> None:
    """N23"""
    assert refusal(write("f.csv", b'who,"ts\n')) == (
        "f.csv: the first line: unexpected end of data: a quote that begins a cell is never closed"
    )


# delimiters of cells, and names of columns (N23)


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"'])
def test_a_line_that_says_what_parts_the_cells_is_obeyed(write: Write, line: str) -> None:
    """N23: Excel writes and reads such a line."""
    assert read(write("f.csv", f"\ufeff{line}\r\n{TABLE.replace(',', ';')}".encode())) == TWO


@pytest.mark.parametrize(
    ("name", "mark", "hint"),
    [
        ("f.csv", ";", "; if ';' separates the cells, insert the line sep=; before the first line"),
        ("f.csv", "|", "; if '|' separates the cells, insert the line sep=| before the first line"),
        ("f.csv", "\t", "; tabs seem to separate the cells: give --format tsv"),
        ("f.tsv", ",", "; commas seem to separate the cells: give --format csv"),
    ],
)
def test_another_mark_between_cells_is_hinted_at(write: Write, name: str, mark: str, hint: str) -> None:
    """N23"""
    said = refusal(write(name, TABLE.replace(",", mark).encode()))

    assert said.startswith("there is no column 'who'; the file's columns are ts")
    assert said.endswith(hint)


@pytest.mark.parametrize(
    ("header", "which"),
    [
        ("ts,who,n,n", "'n', columns 3 and 4"),
        ("ts,who,,", "'', columns 3 and 4"),
        ("a,who,a,ts", "'a', columns 1 and 3"),
    ],
)
def test_two_columns_of_one_name_are_said_with_their_places(write: Write, header: str, which: str) -> None:
    """N23"""
    assert refusal(write("f.csv", f"{header}\n1,2,3,4\n".encode())) == (
        f"two columns have the same name: {which}; rename one of them"
    )
