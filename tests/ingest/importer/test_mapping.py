"""A mapping makes events from columns and constants. If it does not fit, it is refused. An invalid row says why."""

from dataclasses import replace
from typing import Any

import pytest

from engine.errors import InvalidRequest
from ingest.importer.columns import ColumnMapping
from ingest.importer.row_times import Ambiguous
from tests.ingest.importer.file_events import FLIGHT, read
from tests.ingest.importer.written_files import Write, write

__all__ = ["write"]  # a fixture of another file


def test_texts_that_mean_nothing_are_left_out(write: Write) -> None:
    path = write("flights.csv", "carrier,at,a,b\nUA,2013-01-01,NA,-\n")

    mapping = ColumnMapping(type="flight", subject="column:carrier", time="column:at", nulls=("NA", "-"))

    assert read(path, mapping)[0]["data"] == {}


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
