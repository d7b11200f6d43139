"""Times of rows: the repeated hour, days, and numbers."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidEvent, InvalidRequest
from engine.instants import END
from engine.usage.local_times import timestamp
from engine.usage.zones import offsets, zone
from ingest.importer.columns import ColumnMapping
from ingest.importer.event_file import EventFile
from ingest.importer.row_times import Ambiguous, RowTimes, TimeUnit

NEW_YORK = "America/New_York"
CHANGING = (NEW_YORK, "Europe/London", "Australia/Lord_Howe", "America/Havana", "Africa/Cairo", "Pacific/Apia")


def changes() -> list[int]:
    """Return the instants at which the clocks of these zones change."""
    return sorted(start for name in CHANGING for start in offsets(name).starts[1:])


# the hour that occurs twice (N26)


@given(
    second=st.one_of(
        st.integers(0, END - 1),
        st.deferred(lambda: st.sampled_from(changes())).flatmap(
            lambda change: st.integers(max(change - 7200, 0), change + 7200)
        ),
    ),
    name=st.sampled_from(CHANGING),
)
def test_every_instant_is_one_of_what_its_local_time_may_mean(second: int, name: str) -> None:
    """N26: a local time means at most two instants. A text is refused as a bound exactly if they differ."""
    text = datetime.fromtimestamp(second, zone(name)).replace(tzinfo=None).isoformat()

    earlier, later = (
        round(datetime.fromisoformat(RowTimes(zone(name), None, rule).timestamp(text)).timestamp())
        for rule in (Ambiguous.EARLIER, Ambiguous.LATER)
    )

    assert second in (earlier, later)
    assert earlier <= later
    if earlier == later:
        assert datetime.fromisoformat(timestamp(text, zone(name))).timestamp() == second
    else:
        with pytest.raises(InvalidRequest, match="occurs twice"):
            timestamp(text, zone(name))


AUTUMN = "at,site,kwh\n2025-11-02 00:30,a,1\n2025-11-02 01:30,a,1\n2025-11-02 01:30,a,1\n2025-11-02 02:30,a,1\n"
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_(content: str) -> Path:
        path = tmp_path / "f.csv"
        path.write_text(content)
        return path

    return write_


def mapping(**options: Any) -> ColumnMapping:
    return ColumnMapping(
        **{"type": "power", "subject": "column:site", "time": "column:at", "time_zone": NEW_YORK, **options}
    )


def times(file: EventFile) -> list[str]:
    """Return the time of each event of a file, or the reason why there is none."""
    return [
        str(row.event) if isinstance(row.event, InvalidEvent) else orjson.loads(row.event)["time"]
        for row in file.read()
    ]


def clocks(path: Path, rule: Ambiguous) -> list[str]:
    """Return the hour, minute and offset of each event, or an error without its beginning."""
    found = times(EventFile(path, None, mapping(ambiguous=rule)))
    return [text[11:16] + text[19:] if text.startswith("2025") else text.partition("; ")[2] for text in found]


def test_a_row_whose_time_occurs_twice_is_refused_unless_a_rule_says_which(write: Write) -> None:
    """N26: the default neither loses nor misplaces usage. The message names the options that help."""
    found = times(EventFile(write(AUTUMN), None, mapping()))

    assert found[0] == "2025-11-02T00:30:00-04:00"
    assert (
        found[1]
        == found[2]
        == (
            "time 2025-11-02 01:30:00 occurs twice in America/New_York, at -04:00 and at -05:00: "
            "write it with its offset, or give --ambiguous earlier, later or infer"
        )
    )
    assert found[3] == "2025-11-02T02:30:00-05:00"


@pytest.mark.parametrize(
    ("rule", "wanted", "counts"),
    [
        (Ambiguous.EARLIER, ["01:30-04:00", "01:30-04:00"], (2, 0)),
        (Ambiguous.LATER, ["01:30-05:00", "01:30-05:00"], (0, 2)),
        (Ambiguous.INFER, ["01:30-04:00", "01:30-05:00"], (1, 1)),
    ],
)
def test_a_rule_says_which_of_the_two_hours_and_the_rows_are_counted(
    write: Write, rule: Ambiguous, wanted: list[str], counts: tuple[int, int]
) -> None:
    """N26"""
    file = EventFile(write(AUTUMN), None, mapping(ambiguous=rule))

    assert [text[11:16] + text[19:] for text in times(file)] == ["00:30-04:00", *wanted, "02:30-05:00"]
    assert (file.ambiguous_earlier, file.ambiguous_later) == counts


def test_rows_of_an_earlier_run_tell_which_hour_a_row_is_in(write: Write) -> None:
    """N26: also in a run that continues after them, and however often the file is read."""
    file = EventFile(write(AUTUMN), None, mapping(ambiguous=Ambiguous.INFER))

    for _ in range(2):
        (third, _) = file.read(after=2)

        assert isinstance(third.event, bytes)
        assert b"T01:30:00-05:00" in third.event
        assert (file.ambiguous_earlier, file.ambiguous_later) == (1, 1)


@pytest.mark.parametrize("key", ["column:site,at", "column:at"])
def test_the_later_of_two_hours_has_an_id_of_its_own_where_the_time_is_in_it(write: Write, key: str) -> None:
    """N26: site and time are a natural key. Before, the second row of 01:30 was dropped as a duplicate."""
    prefix = "a/" if "site" in key else ""

    def ids(rule: Ambiguous) -> list[str]:
        rows = EventFile(write(AUTUMN), None, mapping(ambiguous=rule, id=key)).read()
        return [orjson.loads(row.event)["id"] for row in rows if isinstance(row.event, bytes)]

    clocks = ["2025-11-02 00:30", "2025-11-02 01:30", "2025-11-02T01:30:00-05:00", "2025-11-02 02:30"]
    assert ids(Ambiguous.INFER) == [prefix + clock for clock in clocks]
    assert ids(Ambiguous.LATER)[1:3] == [f"{prefix}2025-11-02 01:30"] * 2  # one time gives one key


def test_each_subject_of_an_interleaved_file_is_inferred_on_its_own(write: Write) -> None:
    """N26"""
    rows = [("00:45", "a"), ("00:45", "b"), ("01:15", "a"), ("01:15", "b"), ("01:45", "a"), ("01:15", "a")]
    rows += [("01:15", "b"), ("01:45", "a"), ("01:45", "b"), ("02:15", "b")]
    path = write("at,site\n" + "".join(f"2025-11-02 {clock},{site}\n" for clock, site in rows))

    assert clocks(path, Ambiguous.INFER) == [
        *("00:45-04:00", "00:45-04:00", "01:15-04:00", "01:15-04:00", "01:45-04:00", "01:15-05:00"),
        *("01:15-05:00", "01:45-05:00", "01:45-05:00", "02:15-05:00"),
    ]


def test_what_the_order_of_rows_does_not_tell_is_refused(write: Write) -> None:
    """N26: as in a file with the newest row first, or with the same minute more than twice."""
    falling = write("at,site\n2025-11-02 02:30,a\n2025-11-02 01:30,a\n2025-11-02 00:30,a\n")
    assert clocks(falling, Ambiguous.INFER) == [
        "02:30-05:00",
        "it cannot be inferred, because the previous row of the same subject, type and source has a later time",
        "00:30-04:00",
    ]  # fmt: skip
    thrice = write("at,site\n" + "2025-11-02 01:30,a\n" * 3)
    assert clocks(thrice, Ambiguous.INFER) == [
        "01:30-04:00", "01:30-05:00", "it cannot be inferred, because the rows go back more than once",
    ]  # fmt: skip


def test_a_constant_time_that_occurs_twice_cannot_be_inferred(write: Write) -> None:
    """N26"""
    path = write("site\na\n")
    for rule in (Ambiguous.ERROR, Ambiguous.INFER):
        said = "2025-11-02 01:30:00 occurs twice .*, or give --ambiguous earlier or later$"
        with pytest.raises(InvalidRequest, match=said):
            times(EventFile(path, None, mapping(time="2025-11-02 01:30", ambiguous=rule)))
    later = mapping(time="2025-11-02 01:30", ambiguous=Ambiguous.LATER)
    assert times(EventFile(path, None, later)) == ["2025-11-02T01:30:00-05:00"]


def test_a_data_column_whose_time_occurs_twice_stays_as_written(tmp_path: Path) -> None:
    """N26: it does not decide where usage is counted, so it needs no rule, and nothing is added to it."""
    stamps = pa.array([datetime(2025, 11, 2, 1, 30), datetime(2025, 11, 2, 3, 30)], pa.timestamp("us"))
    table = {"site": ["a", "a"], "at": ["2026-01-01T00:00:00Z"] * 2, "seen": stamps, "all": [{"x": stamps[0]}] * 2}
    pq.write_table(pa.table(table), tmp_path / "f.parquet")

    def data(rule: Ambiguous) -> list[str]:
        rows = EventFile(tmp_path / "f.parquet", None, mapping(ambiguous=rule)).read()
        return [row.event.decode().partition('"data":')[2][:-1] for row in rows if isinstance(row.event, bytes)]

    twice, once = '{"seen":"2025-11-02T01:30:00%s","all":{"x":"2025-11-02T01:30:00%s"}}', "2025-11-02T03:30:00-05:00"
    for rule, offset in (("error", ""), ("infer", ""), ("earlier", "-04:00"), ("later", "-05:00")):
        first, second = data(Ambiguous(rule))
        assert first == twice % (offset, offset)
        assert once in second


# times written as numbers (N25)


@pytest.mark.parametrize(
    ("unit", "cell", "wanted"),
    [
        (TimeUnit.SECONDS, "1752364800", "2025-07-13T00:00:00Z"),
        (TimeUnit.SECONDS, "1752364800.25", "2025-07-13T00:00:00.25Z"),
        (TimeUnit.SECONDS, "1.7523648E9", "2025-07-13T00:00:00Z"),
        (TimeUnit.SECONDS, "-1.5", "1969-12-31T23:59:58.5Z"),
        (TimeUnit.MILLISECONDS, "1752364800123", "2025-07-13T00:00:00.123Z"),
        (TimeUnit.MICROSECONDS, "1752364800123456", "2025-07-13T00:00:00.123456Z"),
        (TimeUnit.NANOSECONDS, "1752364800123456789", "2025-07-13T00:00:00.123456789Z"),
        (TimeUnit.NANOSECONDS, "1752364800123456789.9", "2025-07-13T00:00:00.123456789Z"),
    ],
)
def test_a_number_is_a_time_of_the_unit_that_is_given(write: Write, unit: TimeUnit, cell: str, wanted: str) -> None:
    """N25: it is exact to the nanosecond and has no time zone."""
    assert times(EventFile(write(f"site,at\na,{cell}\n"), None, mapping(time_unit=unit))) == [wanted]


@pytest.mark.parametrize("cell", ["1752364800", "1752364800123", "1752364800.5", "20250713", "45851", "1.7e9"])
def test_without_a_unit_a_number_is_refused_and_the_option_named(write: Write, cell: str) -> None:
    """N25: nothing is guessed."""
    (refused,) = times(EventFile(write(f"site,at\na,{cell}\n"), None, mapping()))

    assert refused == (
        f"time '{cell}' is a number, not a time: if it counts from 1970-01-01T00:00:00Z, give --time-unit s, "
        "ms, us or ns; otherwise expected a time such as 2026-03-01T12:30:00 or 2026-03-01, or one with an offset"
    )


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("2025-07-13", "time '2025-07-13' is not a number, but with --time-unit s every time must be one"),
        ("nan", "time 'nan' is not a number"),
        ("1752364800123", "time '1752364800123' is not within the years 0001 to 9999 as a number of --time-unit s"),
        ("1e300", "time '1e300' is not within the years 0001 to 9999"),
        ("-1e300", "time '-1e300' is not within the years 0001 to 9999"),
    ],
)
def test_what_is_no_number_of_the_unit_is_refused(write: Write, cell: str, reason: str) -> None:
    """N25"""
    (refused,) = times(EventFile(write(f"site,at\na,{cell}\n"), None, mapping(time_unit=TimeUnit.SECONDS)))

    assert refused.startswith(reason)


@pytest.mark.parametrize(
    "column",
    [pa.array([1752364800], pa.int64()), pa.array([1752364800], pa.int32()), pa.array([1752364800.0], pa.float64())],
)
def test_a_parquet_column_of_numbers_is_a_time_of_the_unit(tmp_path: Path, column: pa.Array) -> None:
    """N25"""
    pq.write_table(pa.table({"site": ["a"], "at": column}), tmp_path / "f.parquet")

    assert times(EventFile(tmp_path / "f.parquet", None, mapping(time_unit=TimeUnit.SECONDS))) == [
        "2025-07-13T00:00:00Z"
    ]
    (refused,) = times(EventFile(tmp_path / "f.parquet", None, mapping()))
    assert "is a number, not a time" in refused


def test_a_file_of_events_may_count_its_times_and_ndjson_may_not(tmp_path: Path) -> None:
    """N25"""
    (tmp_path / "e.csv").write_text("id,source,type,subject,time\n1,s,t,u,1752364800\n")
    (tmp_path / "e.ndjson").write_text("{}\n")

    counted = ColumnMapping(time_unit=TimeUnit.SECONDS)
    assert times(EventFile(tmp_path / "e.csv", None, counted)) == ["2025-07-13T00:00:00Z"]
    with pytest.raises(InvalidRequest, match="--time-unit"):
        EventFile(tmp_path / "e.ndjson", None, counted)
