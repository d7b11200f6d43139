"""Files of all formats become events exactly, and a file that cannot be read says where."""

import gzip
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import InvalidRequest
from ingest.importer.columns import ColumnMapping
from ingest.importer.event_file import EventFile, FileFormat
from tests.ingest.importer.file_events import EVENTS, FLIGHT, lines, read
from tests.ingest.importer.written_files import Write, write

__all__ = ["write"]  # a fixture of another file


def texts(path: Path, mapping: ColumnMapping = EVENTS) -> list[str]:
    """Return the exact text of each event's `data`."""
    rows = [row.event for row in EventFile(path, None, mapping).read()]
    return [row.decode().partition('"data":')[2][:-1] for row in rows if isinstance(row, bytes)]


@pytest.mark.parametrize("name", ["events.ndjson", "events.jsonl", "events.ndjson.gz"])
def test_ndjson_passes_on_each_line_as_it_is(write: Write, name: str) -> None:
    content = (lines("1") + "\r\n \n" + lines("2")).encode()
    path = write(name, gzip.compress(content) if name.endswith("gz") else content)

    rows = list(EventFile(path, None, ColumnMapping()).read())

    assert [(row.number, row.event) for row in rows] == [
        (1, lines("1").strip().encode()),
        (4, lines("2").strip().encode()),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"a":1},{"b":2}', "not JSON"),
        ('{"a":1}]', "not JSON"),
        ('[{"a":1}]', "not a JSON object"),
        ("nonsense", "not a JSON object"),
        ('{"a":NaN}', "not JSON"),
        (b'{"a":"\xff"}', "not JSON"),
    ],
)
def test_a_line_that_would_break_its_batch_is_invalid(write: Write, line: str | bytes, reason: str) -> None:
    events = read(write("events.ndjson", line))

    assert len(events) == 1
    assert str(events[0]["invalid"]).startswith(reason)


def test_csv_rows_are_mapped(write: Write) -> None:
    path = write(
        "flights.csv",
        "\ufeffcarrier,at,distance,note\r\n"
        'UA,2013-01-01 05:15,1400,"two\nlines, ""quoted"""\r\n'
        "\r\n"
        "B6,2013-07-01T00:00:00Z,,ü\r\n",
    )

    events = read(path, FLIGHT)

    assert [event.pop("id")[32:] for event in events] == ["-1", "-1"]
    assert events == [
        {
            "specversion": "1.0", "source": "import", "type": "flight", "subject": "UA",
            "time": "2013-01-01T05:15:00+00:00", "data": {"distance": 1400, "note": 'two\nlines, "quoted"'},
        },
        {
            "specversion": "1.0", "source": "import", "type": "flight", "subject": "B6",
            "time": "2013-07-01T00:00:00Z", "data": {"note": "ü"},
        },
    ]  # fmt: skip


def test_tsv_and_a_format_said_aloud(write: Write) -> None:
    path = write("flights.txt", "carrier\tat\tn\nUA\t2013-01-01\t1\n")

    assert read(path, FLIGHT, FileFormat.TSV)[0]["data"] == {"n": 1}
    with pytest.raises(InvalidRequest, match="unknown file type; give --format"):
        read(path, FLIGHT)


def test_csv_of_events(write: Write) -> None:
    path = write(
        "events.csv",
        "id,source,type,subject,time,data,region\n"
        '1,s,t,u,2026-01-01T00:00:00Z,"{""n"":12345678901234567890.50}",eu\n'
        "2,s,t,u,,,\n"
        '3,s,t,u,,"{""n"":1},{}",\n'
        "4,,t,u,,,\n",
    )

    events = read(path)

    assert texts(path) == ['{"n":12345678901234567890.50}', "null", "null"]
    assert events[0]["time"] == "2026-01-01T00:00:00Z"
    assert events[0]["region"] == "eu"
    assert events[1] == {"specversion": "1.0", "id": "2", "source": "s", "type": "t", "subject": "u", "data": None}
    assert events[2]["invalid"].startswith("column data is not JSON")
    assert "source" not in events[3]  # the server refuses it with a message


def test_parquet_rows_are_mapped(tmp_path: Path) -> None:
    path = tmp_path / "flights.parquet"
    table = pa.table(
        {
            "carrier": pa.array(["UA", "B6"]).dictionary_encode(),
            "at": pa.array([datetime(2013, 7, 1, 5), datetime(2013, 1, 1, 5, 15, 0, 250000)], pa.timestamp("ns")),
            "n": pa.array([9007199254740993, None], pa.int64()),
            "u": pa.array([18446744073709551615, 0], pa.uint64()),
            "f": pa.array([0.1, float("nan")], pa.float64()),
            "f32": pa.array([0.1, 1e30], pa.float32()),
            "d": pa.array([Decimal("0.0000000001"), Decimal("12345678901234567890.1")], pa.decimal128(38, 10)),
            "b": pa.array([True, False]),
            "s": pa.array(["", "x[1]"]),
            "day": pa.array([date(2013, 7, 1), None], pa.date32()),
            "seen": pa.array([datetime(2013, 7, 1, 5, tzinfo=UTC)] * 2, pa.timestamp("us", "America/New_York")),
            "nested": pa.array([{"x": [1, 2], "y": Decimal("1.50")}, None]),
        }
    )
    pq.write_table(table, path)
    mapping = ColumnMapping(type="flight", subject="column:carrier", time="column:at", time_zone="America/New_York")

    events = read(path, mapping)

    assert [event["time"] for event in events] == ["2013-07-01T05:00:00-04:00", "2013-01-01T05:15:00.25-05:00"]
    assert texts(path, mapping) == [
        '{"n":9007199254740993,"u":18446744073709551615,"f":0.1,"f32":0.1,"d":"0.0000000001","b":true,"s":"",'
        '"day":"2013-07-01","seen":"2013-07-01T05:00:00Z","nested":{"x":[1,2],"y":"1.50"}}',
        '{"u":0,"f32":1e+30,"d":"12345678901234567890.1000000000","b":false,"s":"x[1]","seen":"2013-07-01T05:00:00Z"}',
    ]


def test_parquet_values_json_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "flights.parquet"
    columns = {"carrier": ["UA"], "at": ["2013-01-01"], "f": [float("inf")], "raw": pa.array([1], pa.duration("s"))}
    pq.write_table(pa.table(columns), path)

    with pytest.raises(InvalidRequest, match="column 'raw' contains values that JSON cannot represent: leave it out"):
        read(path, FLIGHT)
    chosen = ColumnMapping(type="flight", subject="column:carrier", time="column:at", data=("f",))
    assert read(path, chosen) == [{"invalid": "a number is infinite"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "the first line must name the columns"),
        ("a.csv", b"a,a\n1,2\n", "two columns have the same name"),
        ("a.csv", b'carrier,at\nUA,2013-01-01\nUA,"2013', "row 2: unexpected end of data"),
        ("a.parquet", b"no parquet", "a.parquet: "),
        ("a.ndjson.gz", gzip.compress(lines("1").encode(), mtime=0)[:-9], "row 2: its compressed data is cut off"),
        ("a.ndjson.gz", b"plain", "it is not gzip, though its name ends in .gz: rename it"),
        ("a.ndjson", None, "No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(write: Write, name: str, content: bytes | None, message: str) -> None:
    path = write(name, content or b"")
    if content is None:
        path.unlink()

    with pytest.raises(InvalidRequest, match=message):
        read(path, FLIGHT if "csv" in name or "parquet" in name else ColumnMapping())
