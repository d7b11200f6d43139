"""Values of Parquet columns become text or JSON, or an error names their type. Large row groups fit in memory.

Cases N9 and N28.
"""

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.importer.columns import ColumnMapping
from tests.harness.preloaded import ROOT
from tests.ingest.importer.source_files import read, refusal


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
