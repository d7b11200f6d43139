"""From records to a batch: where a batch ends, what becomes a dead letter, and how many of these may be in a row."""

import pytest

from engine.config.settings import IngestSettings
from engine.events.cloudevents import TimeSpan
from ingest.dead_letters import DeadLetterRuns
from ingest.decoding import Batch, decode_records
from ingest.event_log import Headers, Record

ARRIVED = 1_767_225_600_000  # 2026-01-01T00:00:00Z
SPAN = TimeSpan.of(IngestSettings())
NONE: Headers = [("content-type", b"text/plain"), ("ce_id", b"1")]


def event(number: int, time: str = "2025-12-24T10:00:00Z") -> bytes:
    return (f'{{"specversion":"1.0","id":"{number}","source":"s","type":"t","subject":"u","time":"{time}"}}').encode()


def record(offset: int, value: bytes | None, headers: Headers | None = None, lost: str = "") -> Record:
    return Record(5, offset, ARRIVED, value, headers, lost)


def decoded(records: list[Record], months: int | None = None) -> Batch:
    return decode_records(records, SPAN, months)


def offsets(batch: Batch) -> tuple[list[int], list[int]]:
    """Return the offsets of a batch's events, and those of its dead letters."""
    return [offset for *_, offset in batch.events.keys_with_positions()], [
        letter.record.offset for letter in batch.letters
    ]


def test_every_record_becomes_an_event_or_a_dead_letter() -> None:
    binary: Headers = [(f"ce_{name}", b"1.0") for name in ("specversion", "id", "source", "type", "subject")]
    records = [
        record(1, event(1)),
        record(2, b"garbage"),
        record(3, b'{"v":1}', binary),
        record(4, None),
        record(5, event(5), NONE),
        record(6, None, None, "offsets 6 to 9 were deleted"),
        record(10, event(10)),
    ]

    batch = decoded(records)

    assert offsets(batch) == ([1, 3, 10], [2, 4, 5, 6])
    assert [letter.reason for letter in batch.letters] == [
        "not JSON: JSON is malformed: invalid character (byte 0)",
        "the record has no value",
        "header ce_source is missing",
        "offsets 6 to 9 were deleted",
    ]
    assert batch.records == records


def test_no_records_are_an_empty_batch() -> None:
    assert offsets(decoded([])) == ([], [])


MONTHS = [
    event(1, "2025-10-31T23:59:59.999Z"),
    event(2, "2025-11-01T00:00:00Z"),
    b"x",
    event(3, "2025-12-01T00:00:00Z"),
]
CUTS = {None: 6, 3: 6, 2: 3, 1: 1}


@pytest.mark.parametrize(("months", "length"), CUTS.items())
def test_a_batch_ends_before_the_event_of_a_month_too_many(months: int | None, length: int) -> None:
    values = [*MONTHS, event(4, "2025-10-01T00:00:00Z"), b"x"]
    records = [record(at, value) for at, value in enumerate(values)]

    batch = decoded(records, months)

    assert batch.records == records[:length]
    assert offsets(batch) == ([at for at in (0, 1, 3, 4) if at < length], [at for at in (2, 5) if at < length])


def test_months_are_those_of_utc_and_of_their_year() -> None:
    times = ["2024-12-31T23:00:00-01:00", "2025-01-31T23:59:59Z", "2024-01-01T00:00:00Z"]

    assert len(decoded([record(at, event(at, time)) for at, time in enumerate(times)], 1).records) == 2


LOST = "lost"
ROWS = {
    "three in a row": ("xxx", True),
    "an event between": ("xxexxexx", False),
    "the third after an event": ("exxexxx", True),
    "what was lost is not counted": ("xxLL", False),
    "nor does it end the row": ("xLxLx", True),
    "two and an event, then one": ("xxex", False),
}


@pytest.mark.parametrize(("row", "too_many"), ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("at_once", [True, False], ids=["in one batch", "in batches of one"])
def test_so_many_bad_records_in_a_row_are_a_run(row: str, too_many: bool, at_once: bool) -> None:
    runs = DeadLetterRuns(3)
    records = _records(row)

    found = [runs.count(decoded(batch).outcomes()) for batch in ([records] if at_once else [[one] for one in records])]

    assert (found[-1] is not None) is too_many
    assert not any(found[:-1])


def _records(row: str, partition: int = 5) -> list[Record]:
    kinds = {"x": (b"x", ""), "e": (event(1), ""), "L": (None, LOST)}
    return [
        record(at, kinds[kind][0], None, kinds[kind][1])._replace(partition=partition) for at, kind in enumerate(row)
    ]


def test_a_run_names_its_first_record_and_where_it_begins_in_the_batch() -> None:
    """N21: before, it named the last record."""
    runs = DeadLetterRuns(4)
    assert runs.count(decoded(_records("exx")).outcomes()) is None

    run = runs.count(decoded([one._replace(offset=one.offset + 3) for one in _records("xxx")]).outcomes())

    assert run is not None
    assert (run.partition, run.first, run.offset, run.records) == (5, 1, 3, 4)
    assert run.reason.startswith("not JSON")


def test_runs_are_counted_for_each_partition() -> None:
    """N21: before, invalid records of several partitions were counted as one run."""
    runs = DeadLetterRuns(3)

    assert runs.count(decoded([*_records("xx", 0), *_records("xx", 1)]).outcomes()) is None
    assert runs.count(decoded([*_records("e", 0), *_records("x", 1)]).outcomes()) is not None


def test_records_behind_the_cut_are_not_counted_yet() -> None:
    records = [
        record(0, event(0, "2025-10-01T00:00:00Z")),
        record(1, event(1)),
        *(record(at, b"x") for at in (2, 3, 4)),
    ]

    batch = decoded(records, months=1)

    assert offsets(batch) == ([0], [])
    assert DeadLetterRuns(3).count(batch.outcomes()) is None
