"""The sources of an import: pipes, files that change, encodings of spreadsheets, and types of Parquet columns.

Cases N4, N5, N9, N23, N23b and N28. Those of the command line run `meterport import` on their own data directory.
"""

import bz2
import codecs
import gzip
import io
import lzma
import os
import pty
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import InvalidEvent, InvalidRequest
from engine.texts import printable
from ingest.importer.columns import ColumnMapping
from ingest.importer.event_file import EventFile, FileFormat
from tests.harness.command import meterport_bytes

ROOT = Path(__file__).resolve().parents[3]
EVENT = '{"specversion":"1.0","id":"%s","source":"s","type":"t","subject":"a"}\n'
TABLE = "ts,who,n\n2026-11-01T00:00:00Z,a,1\n2026-11-02T00:00:00Z,ü,2\n"
ROWS = ColumnMapping(type="t", subject="column:who", time="column:ts")
OPTIONS = ("--type=t", "--subject=column:who", "--time=column:ts")
Write = Callable[[str, bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write_


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


TWO = [("a", {"n": 1}), ("ü", {"n": 2})]


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
        "its bytes are not UTF-16, as its byte order mark says"
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


# compressed files (N23)


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
    assert refusal(write("f.ndjson.zst", frames[:-5]), ColumnMapping()).endswith(
        "Compressed file ended before its end: it is cut off"
    )


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda packed: packed[:-9], "Compressed file ended before its end: it is cut off"),
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
        (TABLE.encode(), "it is not a Parquet file, or not a complete one: its end is missing"),
        (parquet(b"x")[:-3], "it is not a Parquet file, or not a complete one: its end is missing"),
        (gzip.compress(parquet(b"x")), "it is packed with gzip: unpack it first"),
        (archive(b""), "it is a zip archive or an Excel workbook: unpack it, or save its sheet as CSV"),
        (b"", "it is empty, so it is not a Parquet file"),
    ],
    ids=["csv", "cut off", "gzip", "zip", "empty"],
)
def test_what_is_no_parquet_file_is_named(write: Write, content: bytes, reason: str) -> None:
    """N23"""
    assert refusal(write("f.parquet", content)) == f"f.parquet: {reason}"


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


# pipes and files that change (N4)


def fed(path: Path, content: bytes) -> threading.Thread:
    """Write to a FIFO from another thread, as another program would."""

    def write_() -> None:
        with suppress(BrokenPipeError):  # the reader may refuse the source before it reads anything
            path.write_bytes(content)

    thread = threading.Thread(target=write_, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("name", ["f.csv", "f.csv.gz", "f.parquet"])
def test_a_fifo_is_read_to_its_end_and_imported(tmp_path: Path, name: str) -> None:
    """N4: before, it was read once for its hash, and opening it a second time never returned."""
    pq.write_table(pa.table({"ts": ["2026-11-01", "2026-11-02"], "who": ["a", "ü"], "n": [1, 2]}), tmp_path / "f")
    content = {"f.csv": TABLE.encode(), "f.csv.gz": gzip.compress(TABLE.encode())}.get(
        name, (tmp_path / "f").read_bytes()
    )
    os.mkfifo(tmp_path / name)
    feeding = fed(tmp_path / name, content)
    told: list[tuple[str, int]] = []

    file = EventFile(tmp_path / name, None, ROWS, lambda label, size: told.append((label, size)))
    feeding.join(30)

    assert [row.number for row in file.read()] == [row.number for row in file.read()] == [1, 2]
    assert told[0] == (str(tmp_path / name), 0)  # before any program writes to it
    assert told[-1][1] == len(content)
    (tmp_path / f"2{name}").write_bytes(content)
    assert file.hash == EventFile(tmp_path / f"2{name}", None, ROWS).hash


def test_a_pipe_that_cannot_be_kept_names_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """N4"""
    os.mkfifo(tmp_path / "f.csv")
    feeding = fed(tmp_path / "f.csv", TABLE.encode())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))

    said = refusal(tmp_path / "f.csv")
    feeding.join(30)

    assert said == "f.csv: it cannot be copied to none: No such file or directory; set TMPDIR to another directory"


def test_a_file_that_says_it_is_empty_and_is_not_is_imported_whole() -> None:
    """N4: files in /proc have a size of 0. This one contains no table, and must not be read as an empty one."""
    file = EventFile(Path("/proc/self/status"), FileFormat.NDJSON, ColumnMapping())

    assert not file.empty
    assert len(list(file.read())) > 10


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """N4"""
    assert refusal(tmp_path, format_=FileFormat.CSV).endswith(": it is a directory, not a file")


def test_a_file_that_is_replaced_under_its_name_is_read_as_it_was(write: Write) -> None:
    """N4: the hash and the rows must come from the same content."""
    path = write("f.csv", TABLE.encode())
    file = EventFile(path, None, ROWS)
    write("new", b"ts,who,n\n2026-11-01,other,9\n").replace(path)

    assert len(list(file.read())) == 2


def test_a_file_that_grows_is_read_as_far_as_it_reached_at_first(write: Write) -> None:
    """N4"""
    path = write("f.ndjson", (EVENT % 1).encode())
    file = EventFile(path, None, ColumnMapping())
    rows = file.read()
    with path.open("a") as more:
        more.write(EVENT % 2)
    os.utime(path, ns=(1, 1))

    assert [row.number for row in rows] == [1]


def test_a_file_that_is_written_over_meanwhile_is_no_success(write: Write) -> None:
    """N4: some of the rows that were read belong to neither content."""
    path = write("f.ndjson", (EVENT % 1 + EVENT % 2).encode())
    file = EventFile(path, None, ColumnMapping())
    path.write_bytes((EVENT % 3 + EVENT % 4).encode())
    os.utime(path, ns=(1, 1))

    with pytest.raises(InvalidRequest, match="it was changed while it was read"):
        list(file.read())


def test_a_file_that_is_cut_meanwhile_is_no_success(write: Write) -> None:
    """N4"""
    path = write("f.ndjson", (EVENT % 1 + EVENT % 2).encode())
    file = EventFile(path, None, ColumnMapping())
    os.truncate(path, 10)

    with pytest.raises(InvalidRequest, match="it became shorter while it was read"):
        list(file.read())


# types of Parquet columns (N9)


def table(tmp_path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), tmp_path / "f.parquet")
    return tmp_path / "f.parquet"


BINARY = [pa.binary(), pa.large_binary(), pa.binary(2), pa.binary_view()]


@pytest.mark.parametrize("kind", BINARY, ids=str)
def test_bytes_of_parquet_that_are_utf_8_are_text(tmp_path: Path, kind: pa.DataType) -> None:
    """N9: older writers do not mark text as text."""
    values = pa.array([b"ab", "ü".encode(), b"\xffx", None], kind)
    times = pa.array([b"2026-11-01"] * 4, pa.binary(10))
    path = table(tmp_path, who=values, ts=times, id=pa.array([b"i%d" % n for n in range(4)], pa.binary()), m=values)
    mapping = ColumnMapping(type="t", subject="column:who", time="column:ts", id="column:id")

    assert read(path, mapping) == [
        *(("ab", {"m": "ab"}), ("ü", {"m": "ü"})),
        *("column who is not UTF-8", "column who is empty"),
    ]
    as_data = ColumnMapping(type="t", subject="s", time="column:ts", id="column:id", data=("m",))
    assert read(path, as_data) == [("s", {"m": "ab"}), ("s", {"m": "ü"}), "column m is not UTF-8", ("s", {})]
    joined = ColumnMapping(type="t", subject="s", time="column:ts", id="column:id,who", data=())
    assert read(path, joined) == [("s", {}), ("s", {}), "column who is not UTF-8", "column who is empty"]


def test_nested_bytes_and_dictionaries_of_bytes_are_text_too(tmp_path: Path) -> None:
    """N9"""
    nested = pa.array([{"x": [b"ab"]}, {"x": [b"\xff"]}])
    coded = pa.array([b"ab", b"\xff"]).dictionary_encode()
    path = table(tmp_path, who=["a", "b"], ts=["2026-11-01"] * 2, nested=nested, coded=coded)

    assert read(path)[0] == ("a", {"nested": {"x": ["ab"]}, "coded": "ab"})
    assert read(path)[1] == "column nested is not UTF-8"


def test_a_file_of_events_may_hold_its_texts_as_bytes(tmp_path: Path) -> None:
    """N9: before, it ended in a batch that was not JSON."""
    columns = {name: pa.array([b"x"], pa.binary()) for name in ("id", "source", "type", "subject")}
    path = table(tmp_path, **columns, data=pa.array([b'{"n":1}'], pa.binary()))

    assert read(path, ColumnMapping()) == [("x", {"n": 1})]


def test_uuids_and_json_of_parquet_are_text_and_json(tmp_path: Path) -> None:
    """N9: current writers use these types."""
    key = UUID("00000000-0000-0000-0000-0000000000ab")
    uuids = pa.array([key.bytes], pa.uuid())
    path = table(tmp_path, who=uuids, ts=["2026-11-01"], j=pa.array(['{"a":[1.50]}'], pa.json_()))

    assert read(path) == [(str(key), {"j": {"a": [1.5]}})]
    assert read(path, ColumnMapping(type="t", subject="s", time="column:ts", id="column:who"))[0][0] == "s"


def test_nested_times_of_a_zone_that_nobody_knows_are_instants_all_the_same(tmp_path: Path) -> None:
    """Like N9 and N23: before, the message was that of a library about packages to install."""
    stamps = pa.array(
        [{"x": [0], "y": 0}],
        pa.struct([("x", pa.list_(pa.timestamp("us", "Foo/Bar"))), ("y", pa.timestamp("us", "Foo/Bar"))]),
    )
    path = table(tmp_path, who=["a"], ts=["2026-11-01"], nested=stamps)

    assert read(path) == [("a", {"nested": {"x": ["1970-01-01T00:00:00+00:00"], "y": "1970-01-01T00:00:00+00:00"}})]


UNFIT = {
    "maps": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
    "values of the kind duration[s]": pa.array([1], pa.duration("s")),
    "structs": pa.array([{"x": 1}]),
    "lists": pa.array([[1]]),
}


@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.parametrize("attribute", ["subject", "id", "time", "type", "source"])
def test_a_column_that_can_be_no_attribute_is_one_error_that_names_its_kind(
    tmp_path: Path, kind: str, attribute: str
) -> None:
    """N9: before, it was reported as empty for each row."""
    path = table(tmp_path, m=UNFIT[kind], ts=["2026-11-01"])
    options: dict[str, Any] = {"type": "t", "subject": "s", "time": "column:ts", "data": (), attribute: "column:m"}

    assert refusal(path, ColumnMapping(**options)) == f"column 'm' holds {kind}, which cannot be an event's {attribute}"


def test_a_column_that_json_cannot_hold_may_be_left_out(tmp_path: Path) -> None:
    """N9: before, a nested duration ended the import even if --data left it out."""
    nested = pa.array([{"x": 1}], pa.struct([("x", pa.duration("s"))]))
    path = table(tmp_path, who=["a"], ts=["2026-11-01"], nested=nested, d=[Decimal("1.50")])

    assert refusal(path) == "a nested timedelta cannot be written as JSON; leave it out with --data"
    assert read(path, ColumnMapping(type="t", subject="column:who", time="column:ts", data=("d",))) == [
        ("a", {"d": "1.50"})
    ]


def test_a_row_group_without_compression_is_read_in_pieces(tmp_path: Path) -> None:
    """N28: memory must not grow with the row group. A process of its own measures how far its memory rises."""
    rows = 250_000
    column = pa.array([f"{number:0800}" for number in range(rows)])
    path = table(tmp_path, who=column, ts=pa.array(["2026-11-01"] * rows).dictionary_encode(), m=column)
    pq.write_table(
        pq.read_table(path), path, row_group_size=rows, compression="none", use_dictionary=False
    )  # one row group of 400 MB
    reading = (
        "import sys; from pathlib import Path; from ingest.importer.row_times import RowTimes\n"
        "from ingest.importer.parquet import ParquetFile\n"
        "def peak():\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    return next(int(line.split()[1]) << 10 for line in lines if line.startswith('VmHWM'))\n"
        "before = peak()\n"
        "with open(sys.argv[1], 'rb') as file:\n"
        "    print(sum(1 for _ in ParquetFile(file, RowTimes('UTC')).cells({0, 1, 2})), peak() - before)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", reading, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )

    read_rows, growth = map(int, done.stdout.split())
    assert read_rows == rows
    assert growth < path.stat().st_size / 2


# the command (N4, N23, N23b)


def meterport(
    *arguments: str | bytes, data_dir: Path | None = None, stdin: bytes | None = None, code: int = 0
) -> "subprocess.CompletedProcess[bytes]":
    answer = meterport_bytes(*arguments, data_dir=data_dir, stdin=stdin)
    assert b"Traceback" not in answer.stderr, answer.stderr.decode(errors="replace")
    assert answer.returncode == code, answer.stderr.decode(errors="replace")
    return answer


def usage(data_dir: Path) -> list[Any]:
    answer = meterport("query", "m", "--format=json", data_dir=data_dir)
    return [row["value"] for row in orjson.loads(answer.stdout)["data"]]


@pytest.fixture(scope="module")
def made_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made") / "data"
    meterport("meters", "create", "m", "--event-type=t", "--aggregation=COUNT", data_dir=made)
    return made


@pytest.fixture
def data_dir(made_data_dir: Path, tmp_path: Path) -> Path:
    """Return a data directory with a meter that counts events of type t."""
    return shutil.copytree(made_data_dir, tmp_path / "data", symlinks=True)


def test_standard_input_is_imported_by_each_of_its_names(data_dir: Path) -> None:
    """N4: before, it printed "read 0 rows, all stored", and nothing was counted."""
    for number, (name, content) in enumerate([("-", EVENT % 1), ("/dev/stdin", EVENT % 2), ("/dev/fd/0", EVENT % 3)]):
        answer = meterport("import", name, "--format=ndjson", data_dir=data_dir, stdin=content.encode())

        assert answer.stdout.startswith(b"read 1 row, stored 1, already stored 0, skipped 0, in ")
        label = "standard input" if name == "-" else name
        assert f"{label}: reading all of it; the import of its rows begins after that\n".encode() in answer.stderr
        assert usage(data_dir) == [number + 1]


def test_standard_input_that_tells_no_format_or_is_closed_is_one_line(data_dir: Path) -> None:
    """N4"""
    unnamed = meterport("import", "-", data_dir=data_dir, stdin=b"", code=1)
    shell = f"exec {sys.executable} -m meterport import - --format ndjson --data-dir {data_dir} <&-"
    closed = subprocess.run(["sh", "-c", shell], cwd=ROOT, capture_output=True, check=False, timeout=120)

    said = b"meterport: standard input: unknown file type; give --format ndjson, csv, tsv or parquet\n"
    assert unnamed.stderr == said
    assert (closed.returncode, closed.stderr) == (1, b"meterport: standard input: it is closed\n")


def test_nothing_of_a_source_that_became_an_event_is_no_success(data_dir: Path, write: Write) -> None:
    """N4: for 0 rows of a source that is not empty, the summary must not be "all stored"."""
    said = "it holds no rows, so nothing was imported\n"
    only_names = str(write("f.csv", b"ts,who,n\n"))

    blank = meterport("import", "-", "--format=ndjson", data_dir=data_dir, stdin=b"\n \r\n", code=1)
    header = meterport("import", only_names, *OPTIONS, data_dir=data_dir, code=1)
    empty = meterport("import", "-", "--format=ndjson", data_dir=data_dir, stdin=b"")

    assert blank.stderr.decode().endswith(f"meterport: standard input: {said}")
    assert header.stderr.decode() == f"meterport: {only_names}: {said}"
    assert empty.stdout.startswith(b"read 0 rows, stored 0")


def test_a_file_whose_name_is_not_utf_8_is_imported(data_dir: Path, tmp_path: Path) -> None:
    """N23b: before, each run ended in a traceback after its first batch."""
    path = os.fsencode(tmp_path) + b"/caf\xe9\x1b[31m.csv"
    Path(os.fsdecode(path)).write_bytes(TABLE.encode() + b"2026-11-01,,1\n")

    stopped = meterport("import", path, *OPTIONS, data_dir=data_dir, code=1)
    meterport("import", path, *OPTIONS, "--skip-invalid", data_dir=data_dir)

    assert b"caf\\xe9\\x1b[31m.csv: row 3: column who is empty (2 rows before it are stored; " in stopped.stderr
    assert usage(data_dir) == [2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("import", "f.csv", *OPTIONS, b"--data=Gr\xf6"), "--data: Gr\\xf6"),
        (("import", "f.csv", *OPTIONS, "--null=-", b"--null=\xff"), "--null: \\xff"),
        (("query", b"\xf6"), "SLUG: \\xf6"),
        (("query", "m", b"--subject=\xf6"), "--subject: \\xf6"),
        (("meters", "create", "m", b"--event-type=\xf6", "--aggregation=COUNT"), "--event-type: \\xf6"),
        (("meters", "delete", b"\xf6"), "SLUG: \\xf6"),
        (("token", "create", b"\xf6"), "SUBJECT: \\xf6"),
        (("token", "invalidate", b"--id=\xf6"), "--id: \\xf6"),
        (("dead-letters", "list", b"--server=\xf6"), "--server: \\xf6"),
        (("serve", b"--host=\xf6"), "--host: \\xf6"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_an_option_that_is_not_utf_8_is_one_line(tmp_path: Path, arguments: tuple[str | bytes, ...], said: str) -> None:
    """N23b: one place in the code checks this for all commands."""
    answer = meterport(*arguments, data_dir=tmp_path / "none", code=1)

    assert answer.stderr == f"meterport: {said} is not UTF-8\n".encode()
    assert not (tmp_path / "none").exists()


def test_a_data_directory_that_is_not_utf_8_is_one_line(tmp_path: Path) -> None:
    """N23b: the embedded store does not accept such a path."""
    directory = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9"))

    answer = meterport("meters", "list", data_dir=directory, code=78)

    assert answer.stderr.startswith(b"meterport: data_dir: ")
    assert b"\\xe9 is not UTF-8: the store does not accept such a path" in answer.stderr
    assert answer.stderr.count(b"\n") == 1
    assert not directory.exists()


def test_a_configuration_from_a_pipe_is_obeyed(tmp_path: Path, write: Write) -> None:
    """Like N4: before, it was read twice and was empty the second time, so its settings were silently ignored."""
    content = f"log_level: warning\ndata_dir: {tmp_path / 'named'}\n".encode()

    shown = meterport("config", "show", "--config=/dev/stdin", stdin=content)
    meterport("import", str(write("f.csv", TABLE.encode())), *OPTIONS, "--config=/dev/stdin", stdin=content)

    assert b"log_level: warning  # from /dev/stdin\n" in shown.stdout
    assert (tmp_path / "named" / "store").is_dir()


def test_what_a_terminal_obeys_reaches_it_escaped(data_dir: Path, write: Write) -> None:
    """N23: the author of the file chooses the names of columns and the values of rows."""
    evil = "\x1b]0;owned\x07\u202e"
    header = write("header.csv", f"{evil},ts\na,2026-11-01\n".encode())
    cells = write("cells.csv", f"who,ts\na,{evil}\n".encode())

    refused = meterport("import", str(header), *OPTIONS, data_dir=data_dir, code=1)
    skipped = meterport("import", str(cells), *OPTIONS, "--skip-invalid", data_dir=data_dir, code=1)

    for answer in (refused, skipped):
        assert b"\x1b" not in answer.stderr
        assert "\u202e" not in answer.stderr.decode()
    assert b"the file's columns are \\x1b]0;owned\\x07\\u202e, ts" in refused.stderr
    assert b"cells.csv: row 1 left out: time '\\x1b]0;owned\\x07\\u202e' is not a time" in skipped.stderr


def test_a_name_in_brackets_is_no_markup_of_the_terminal(data_dir: Path, write: Write) -> None:
    """Like N23b: before, the progress bar on a terminal read `[red]` in the name of the file as markup."""
    path = write("[red]x.csv", TABLE.encode())
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "meterport", "import", str(path), *OPTIONS, "--data-dir", str(data_dir)]
    shown = b""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs) as importing:
        os.close(theirs)
        with suppress(OSError):  # the terminal is gone when its last writer has closed it
            while more := os.read(ours, 4096):
                shown += more
        os.close(ours)
        assert importing.stdout is not None
        summary = importing.stdout.read()

    assert (importing.returncode, summary[:22]) == (0, b"read 2 rows, stored 2,"), shown.decode(errors="replace")
    assert b"[red]x.csv" in shown


def test_the_summary_says_how_many_times_occur_twice(data_dir: Path, write: Write) -> None:
    """N26: both hours have usage, and the row of the second hour is not counted in the first."""
    path = str(write("f.csv", b"who,ts\na,2025-11-02 01:30\na,2025-11-02 01:30\na,2025-11-02 02:30\n"))
    options = (*OPTIONS, "--time-zone=America/New_York")

    refused = meterport("import", path, *options, data_dir=data_dir, code=1)
    taken = meterport("import", path, *options, "--ambiguous=infer", data_dir=data_dir)

    assert b"f.csv: row 1: time 2025-11-02 01:30:00 occurs twice in America/New_York" in refused.stderr
    assert taken.stdout.endswith(b"\n2 local times occur twice: 1 taken as the earlier, 1 as the later\n")
    hours = meterport("query", "m", "--window-size=HOUR", "--format=csv", data_dir=data_dir).stdout.decode()
    assert [line.split(",")[0][11:16] for line in hours.splitlines()[1:]] == ["05:00", "06:00", "07:00"]


def test_times_that_are_numbers_are_imported_with_their_unit(data_dir: Path) -> None:
    """N25"""
    content = b"who,ts\na,1752364800000\n"
    refused = meterport("import", "-", "--format=csv", *OPTIONS, data_dir=data_dir, stdin=content, code=1)
    meterport("import", "-", "--format=csv", *OPTIONS, "--time-unit=ms", data_dir=data_dir, stdin=content)

    assert b"standard input: row 1: time '1752364800000' is a number, not a time" in refused.stderr
    assert usage(data_dir) == [1]
