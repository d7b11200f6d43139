"""Files become events exactly: all formats, values and mappings, invalid rows, and runs that were killed."""

import csv
import gzip
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import ConfigurationError, InvalidEvent, InvalidRequest, TooLarge
from engine.events.outcome import EventName, Outcome
from ingest.importer import importer as importing
from ingest.importer import ledger
from ingest.importer.cells import guessed_literal
from ingest.importer.columns import ColumnMapping
from ingest.importer.event_file import EventFile, FileFormat
from ingest.importer.importer import Importer
from ingest.importer.positions import ImportPosition, PositionFile
from ingest.importer.row_times import Ambiguous
from ingest.importer.summary import Uncounted, summary
from tests.harness.command import meterport

ROOT = Path(__file__).resolve().parents[3]
EVENTS = ColumnMapping()
FLIGHT = ColumnMapping(type="flight", subject="column:carrier", time="column:at")
Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_


class ListSink:
    """Accepts events as the API does: a whole batch or nothing. `refuse` returns why an event is refused, or None."""

    def __init__(
        self, refuse: Callable[[dict[str, Any]], str | None] = lambda _: None, most_bytes: int = 1 << 30
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self.batches: list[int] = []
        self._refuse = refuse
        self._most_bytes = most_bytes

    def send_events(self, events: Sequence[bytes]) -> Mapping[int, str]:
        if sum(map(len, events)) > self._most_bytes:
            raise TooLarge("too large")
        decoded = [orjson.loads(event) for event in events]
        reasons = {index: reason for index, event in enumerate(decoded) if (reason := self._refuse(event))}
        if not reasons:
            self.events += decoded
            self.batches.append(len(events))
        return reasons

    def wait_until_stored(self, on_wait: Callable[[int], None]) -> None:
        on_wait(0)

    def newest_stamp(self) -> int | None:
        return None

    def outcomes(self, names: Sequence[EventName], explain_after_ms: int) -> list[Outcome]:
        sent = {(event["source"], event["id"]) for event in self.events}
        return [Outcome(explain_after_ms + 1 if name in sent else None) for name in names]

    @property
    def ids(self) -> list[str]:
        return [event["id"] for event in self.events]


def read(path: Path, mapping: ColumnMapping = EVENTS, format_: FileFormat | None = None) -> list[dict[str, Any]]:
    """Return the events of a file. An invalid row becomes {"invalid": reason}."""
    return [
        {"invalid": str(row.event)} if isinstance(row.event, InvalidEvent) else orjson.loads(row.event)
        for row in EventFile(path, format_, mapping).read()
    ]


def texts(path: Path, mapping: ColumnMapping = EVENTS) -> list[str]:
    """Return the exact text of each event's `data`."""
    rows = [row.event for row in EventFile(path, None, mapping).read()]
    return [row.decode().partition('"data":')[2][:-1] for row in rows if isinstance(row, bytes)]


def lines(*ids: str) -> str:
    return "".join(
        f'{{"specversion":"1.0","id":"{id_}","source":"s","type":"t","subject":"u","data":{{"n":1.50}}}}\n'
        for id_ in ids
    )


def run(path: Path, sink: ListSink, directory: Path, **options: Any) -> ImportPosition:
    file = EventFile(path, None, options.pop("mapping", ColumnMapping()))
    restart = options.pop("restart", False)
    return Importer(sink, PositionFile(directory, file, ColumnMapping()), **options).run(file, restart)


# formats


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


# values


@pytest.mark.parametrize(
    ("cell", "literal"),
    [
        ("1400", "1400"),
        ("-0.1", "-0.1"),
        ("-0.10", '"-0.10"'),
        ("-0", '"-0"'),
        ("1.0", '"1.0"'),
        ("0.0012", "0.0012"),
        ("0.0001", '"0.0001"'),
        ("0.1", "0.1"),
        ("1e3", '"1e3"'),
        ("123456789012345", "123456789012345"),
        ("1234567890123456", '"1234567890123456"'),
        ("0.1234567890123456", '"0.1234567890123456"'),
        ("1e400", '"1e400"'),
        ("1e-400", '"1e-400"'),
        ("0e400", '"0e400"'),
        ("007", '"007"'),
        ("+5", '"+5"'),
        (".5", '".5"'),
        ("5.", '"5."'),
        ("1,000", '"1,000"'),
        ("٣", '"٣"'),
        ("NaN", '"NaN"'),
        ("true", '"true"'),
        (" 1", '" 1"'),
        ('"', '"\\""'),
        ("", None),
    ],
)
def test_a_csv_cell_is_a_number_where_clickhouse_prints_it_alike(cell: str, literal: str | None) -> None:
    assert guessed_literal(cell) == literal


def test_texts_that_mean_nothing_are_left_out(write: Write) -> None:
    path = write("flights.csv", "carrier,at,a,b\nUA,2013-01-01,NA,-\n")

    mapping = ColumnMapping(type="flight", subject="column:carrier", time="column:at", nulls=("NA", "-"))

    assert read(path, mapping)[0]["data"] == {}


# mapping


def test_ids_are_joined_so_that_no_two_rows_meet(write: Write) -> None:
    path = write("flights.csv", "carrier,at,a,b\nUA,2013-01-01,x/y,z\nUA,2013-01-01,x,y/z\nUA,2013-01-01,x%2Fy,z\n")

    mapping = ColumnMapping(type="flight", source="nyc", subject="column:carrier", time="column:at", id="column:a,b")

    assert [event["id"] for event in read(path, mapping)] == ["x%2Fy/z", "x/y%2Fz", "x%252Fy/z"]
    assert read(path, mapping)[0]["data"] == {}


def test_constants_and_chosen_columns(write: Write) -> None:
    path = write("flights.csv", "carrier,at,a,b\nUA,2013-01-01,1,2\n")

    mapping = ColumnMapping(
        type="column:a", subject="everyone", time="2020-02-02", time_zone="Asia/Kolkata", data=("carrier", "a")
    )

    (event,) = read(path, mapping)
    assert (event["type"], event["subject"], event["time"]) == ("1", "everyone", "2020-02-02T00:00:00+05:30")
    assert event["data"] == {"carrier": "UA", "a": 1}


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (
            ColumnMapping(),
            "--type, --subject and --time are missing: give column:NAME, or .* columns are carrier, at, id",
        ),
        (ColumnMapping(type="t"), "--subject and --time are missing: "),
        (ColumnMapping(type="t", subject="s"), "--time is missing"),
        (
            ColumnMapping(type="t", subject="column:nope", time="column:at"),
            "there is no column 'nope'; .* carrier, at, id",
        ),
        (ColumnMapping(type="t", subject="s", time="column:at", id="id"), "--id must be column:NAME"),
        (ColumnMapping(type="t", subject="s", time="column:at", data=("x",)), "there is no column 'x'"),
        (ColumnMapping(type="t", subject="s", time="column:at", time_zone="Mars"), "unknown time zone 'Mars'"),
        (ColumnMapping(type="t", subject="s", time="tomorrow"), "'tomorrow' is not a time"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(write: Write, mapping: ColumnMapping, message: str) -> None:
    path = write("flights.csv", "carrier,at,id\nUA,2013-01-01,1\n")

    with pytest.raises(InvalidRequest, match=message):
        read(path, mapping)


@pytest.mark.parametrize("option", ["type", "subject", "source", "time"])
def test_a_constant_that_is_the_name_of_a_column_is_refused(write: Write, option: str) -> None:
    """D6: before, --subject carrier gave all rows one subject with the name "carrier"."""
    path = write("flights.csv", "carrier,at,id\nUA,2013-01-01,1\n")
    changed: dict[str, Any] = {option: "carrier"}
    mapping = replace(FLIGHT, **changed)

    with pytest.raises(InvalidRequest) as refused:
        read(path, mapping)

    assert str(refused.value) == (
        f"--{option}: 'carrier' is also the name of a column: write column:carrier for the cells of the column, "
        "or text:carrier for this text in every row"
    )


def test_a_constant_that_is_the_name_of_a_column_is_taken_with_a_mark(write: Write) -> None:
    """D6: the user can say what is meant. The default source is never a column name."""
    path = write("flights.csv", "carrier,at,import\nUA,2013-01-01,1\n")
    assert read(path, FLIGHT)[0]["source"] == "import"
    mapping = ColumnMapping(type="text:carrier", source="text:text:at", subject="text:at", time="text:2013-01-01")

    (event,) = read(path, mapping)

    assert (event["type"], event["source"], event["subject"]) == ("carrier", "text:at", "at")
    assert event["time"] == "2013-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("UA", "1 cells, but the first line names 3 columns"),
        ("UA,2013-01-01,1,2", "4 cells, but the first line names 3 columns"),
        (",2013-01-01,1", "column carrier is empty"),
        ("UA,,1", "column at is empty"),
        ("UA,2013-02-30,1", "time '2013-02-30' is not a time: day is out of range for month"),
        ("UA,01/02/2013,1", "time '01/02/2013' is not a time: expected"),
        ("UA,2013-03-10 02:30,1", "time 2013-03-10 02:30:00 never occurs in America/New_York"),
        (b"UA,2013-01-01,\xff", "column n is not UTF-8"),
    ],
)
def test_a_row_that_is_no_event_says_why(write: Write, row: str | bytes, reason: str) -> None:
    content = b"carrier,at,n\n" + (row.encode() if isinstance(row, str) else row) + b"\nUA,2013-11-03 01:30,1\n"
    zone, rule = "America/New_York", Ambiguous.EARLIER
    mapping = ColumnMapping(type="flight", subject="column:carrier", time="column:at", time_zone=zone, ambiguous=rule)

    bad, good = read(write("flights.csv", content), mapping)

    assert str(bad["invalid"]).startswith(reason)
    assert good["time"] == "2013-11-03T01:30:00-04:00"  # the first of the two times 01:30


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "the first line must name the columns"),
        ("a.csv", b"a,a\n1,2\n", "two columns have the same name"),
        ("a.csv", b'carrier,at\nUA,2013-01-01\nUA,"2013', "row 2: unexpected end of data"),
        ("a.parquet", b"no parquet", "a.parquet: "),
        ("a.ndjson.gz", gzip.compress(lines("1").encode(), mtime=0)[:-9], "row 2: Compressed file ended before"),
        ("a.ndjson.gz", b"plain", "row 1: Not a gzipped file"),
        ("a.ndjson", None, "No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(write: Write, name: str, content: bytes | None, message: str) -> None:
    path = write(name, content or b"")
    if content is None:
        path.unlink()

    with pytest.raises(InvalidRequest, match=message):
        read(path, FLIGHT if "csv" in name or "parquet" in name else ColumnMapping())


# the import of a whole file


def test_an_invalid_row_ends_the_import_behind_the_rows_before_it(write: Write, tmp_path: Path) -> None:
    path, sink = write("events.ndjson", lines("1", "2") + "nonsense\n" + lines("3")), ListSink()

    with pytest.raises(InvalidRequest, match=r"events\.ndjson: row 3: not a JSON object"):
        run(path, sink, tmp_path)

    assert sink.ids == ["1", "2"]


def test_a_row_the_engine_refuses_ends_the_import_too(write: Write, tmp_path: Path) -> None:
    path = write("events.ndjson", lines("1", "2", "bad", "3", "bad"))
    sink = ListSink(refuse=lambda event: "id is bad" if event["id"] == "bad" else None)

    with pytest.raises(InvalidRequest, match=r"events\.ndjson: row 3: id is bad"):
        run(path, sink, tmp_path)

    assert sink.ids == ["1", "2"]


def test_invalid_rows_are_left_out_and_told(write: Write, tmp_path: Path) -> None:
    path = write("events.ndjson", lines("1", "bad", "2") + "nonsense\n" + lines("3"))
    sink = ListSink(refuse=lambda event: "id is bad" if event["id"] == "bad" else None)
    told: dict[int, str] = {}

    position = run(path, sink, tmp_path, on_skip=told.__setitem__)

    assert sink.ids == ["1", "2", "3"]
    assert told == {2: "id is bad", 4: "not a JSON object"}
    assert position == ImportPosition(row=5, read=5, stored=3, skipped=2)


def test_a_batch_that_is_too_long_is_halved(write: Write, tmp_path: Path) -> None:
    long_line = lines("long").replace('"u"', '"' + "u" * 500 + '"')
    path = write("events.ndjson", lines("1", "2", "3") + long_line + lines("4"))
    sink = ListSink(most_bytes=300)
    told: dict[int, str] = {}

    position = run(path, sink, tmp_path, on_skip=told.__setitem__)

    assert sink.ids == ["1", "2", "3", "4"]
    assert told == {4: "longer than the server accepts"}
    assert position == ImportPosition(row=5, read=5, stored=4, skipped=1)


def test_a_second_run_goes_on_where_the_first_ended(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH_EVENTS", 2)
    monkeypatch.setattr(ledger, "MAX_OPEN_ROWS", 1)  # the outcome of each batch is known before the next
    path = write("events.ndjson", lines("1", "2", "3", "4", "5"))
    first, third = ListSink(), ListSink()

    def die_at(row: int) -> None:
        if row == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(path, first, tmp_path, on_batch=die_at)
    position = run(path, first, tmp_path)
    run(path, third, tmp_path, restart=True)

    assert first.ids == ["1", "2", "3", "4", "5"]
    assert position == ImportPosition(row=5, read=5, stored=5)
    assert third.ids == ["1", "2", "3", "4", "5"]


def test_rows_nobody_stores_are_told_as_such(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """K1: rows in the log are durable but not stored, and without `meterport ingest` nothing is stored."""

    class Unstored(ListSink):
        def outcomes(self, names: Sequence[EventName], explain_after_ms: int) -> list[Outcome]:
            found = super().outcomes(names, explain_after_ms)
            return [Outcome() if name.id == "2" else outcome for name, outcome in zip(names, found, strict=True)]

    monkeypatch.setattr(ledger, "STALL_SECONDS", 0.1)
    path = write("events.ndjson", lines("1", "2", "3"))

    position = run(path, Unstored(), tmp_path)

    assert position == ImportPosition(row=3, read=3, stored=2, late=1)
    assert [*summary(ImportPosition(), position, Uncounted(), 0)][1].startswith("not stored yet: 1 row. It is safe")


def test_the_position_belongs_to_content_and_mapping(write: Write, tmp_path: Path) -> None:
    path = write("events.ndjson", lines("1"))
    sink = ListSink()
    run(path, sink, tmp_path)
    renamed, changed = write("renamed.ndjson", lines("1")), write("events.ndjson", lines("2"))

    run(renamed, sink, tmp_path)
    run(changed, sink, tmp_path)

    assert sink.ids == ["1", "2"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"row": 1}', b"[]"])
def test_a_position_that_cannot_be_read_is_the_start(write: Write, tmp_path: Path, content: bytes) -> None:
    file = EventFile(write("events.ndjson", lines("1")), None, ColumnMapping())
    positions = PositionFile(tmp_path, file, ColumnMapping())
    positions.save(ImportPosition(row=1, read=1, stored=1))
    (stored,) = (tmp_path / "imports").iterdir()
    stored.write_bytes(content)

    assert positions.load() is None


def test_a_position_that_cannot_be_written_names_the_directory(write: Write) -> None:
    """As with `import --server`, which otherwise needs no data directory."""
    file = EventFile(write("f.ndjson", '{"id":"1"}\n'), None, EVENTS)
    directory = write("data", "a file")
    sink = ListSink()

    with pytest.raises(ConfigurationError) as refused:
        Importer(sink, PositionFile(directory, file, EVENTS)).run(file)

    failure = "Not a directory"
    assert str(refused.value) == f"data_dir: cannot save the progress of the import in {directory}/imports: {failure}"
    assert sink.ids == []  # writing it is tested before anything is sent


def test_killed_in_the_middle_it_loses_and_doubles_nothing(tmp_path: Path) -> None:
    path, data_dir = tmp_path / "usage.csv", tmp_path / "data"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["customer", "at", "tokens"])
        rows.writerows([f"c{n % 7}", "2026-01-01T00:00:00Z", n] for n in range(20_000))
    tokens = ("--event-type=use", "--aggregation=SUM", "--value-property=$.tokens")
    meterport("meters", "create", "tokens", *tokens, data_dir=data_dir)
    arguments = ("import", str(path), "--type=use", "--subject=column:customer", "--time=column:at")

    # Die before a batch is durable, after it and before its position is saved, and after its usage is stored.
    for fault in ("log.before-commit:2", "log.after-commit:2", "ingest.after-insert:1"):
        killed = meterport(*arguments, data_dir=data_dir, variables={"METERPORT_FAULT": fault})
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    finished = meterport(*arguments, data_dir=data_dir)
    answer = meterport("query", "tokens", "--format=json", data_dir=data_dir)

    assert finished.stdout.startswith("read 20,000 rows, stored 20,000, already stored 0, skipped 0, in ")
    assert [row["value"] for row in orjson.loads(answer.stdout)["data"]] == [20_000 * 19_999 // 2]
