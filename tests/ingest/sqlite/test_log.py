"""A SQLite file as the event log: its limit, its lag, plans that fail, and records that are durable when it answers."""

import threading
from pathlib import Path

import pytest

from engine.errors import LogFull, LogUnavailable
from ingest.event_log import Lag, Range
from ingest.sqlite.log import SqliteLog
from tests.harness.topics import values


def test_what_was_answered_is_in_the_lag(tmp_path: Path) -> None:
    """Before, records entered the lag after the answer, and an import reported that everything was stored."""
    log = SqliteLog(tmp_path / "log.sqlite", max_bytes=1000)
    busy = threading.Event()
    log._writer.submit(lambda _: busy.wait(30))

    done = log.append([b"a", b"b"], 0)

    assert not done.done()
    assert log.lag() == Lag(2, 2)
    busy.set()
    done.result()
    assert log.lag() == Lag(2, 2)
    log.close()


def test_a_full_file_refuses_and_takes_again_once_drained(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.sqlite", max_bytes=1000)
    log.append([b"x" * 900], 0).result()

    with pytest.raises(LogFull):
        log.append([b"y" * 101], 0)

    log.acknowledge(log.plan((Range(log.partition, 1, 2),), 5000))
    log.append([b"y" * 101], 0).result()
    assert log.lag() == Lag(1, 101)
    log.close()


def test_a_plan_that_failed_before_it_was_written_takes_nothing_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, the next plan acknowledged it, and its records were deleted before they were stored."""
    log = SqliteLog(tmp_path / "log.sqlite", max_bytes=1000)
    log.append([b"a"], 0).result()
    log.plan((Range(log.partition, 1, 2),), 5000)
    log.append([b"b", b"c"], 0).result()

    def unreadable(*_: object) -> None:
        raise LogUnavailable("disk I/O error")

    with monkeypatch.context() as patched, pytest.raises(LogUnavailable):
        patched.setattr(log, "_size_to_end_of", unreadable)
        log.plan((Range(log.partition, 2, 4),), 6000)
    plan = log.plan((Range(log.partition, 2, 4),), 6001)

    assert plan is not None
    assert [record.value for record in log.reread(plan)] == [b"b", b"c"]
    assert log.lag().records == 2
    log.close()


def test_a_file_counts_from_one_in_a_partition_of_its_own(tmp_path: Path) -> None:
    one, other = (SqliteLog(tmp_path / name, max_bytes=1000) for name in ("one.sqlite", "other.sqlite"))
    one.append([b"a"], 0).result()

    [record] = one.read(10, 1000, 0)

    assert (record.partition, record.offset) == (one.partition, 1)
    assert one.partition != other.partition
    one.close()
    other.close()


def test_who_is_answered_that_records_are_durable_can_read_them(tmp_path: Path) -> None:
    """This is checked in the thread of the writer, at the moment of the answer."""
    log = SqliteLog(tmp_path / "log.sqlite", max_bytes=1 << 20)
    seen: list[bytes | None] = []

    answered = log.append([b"a", b"b"], 5)
    answered.add_done_callback(lambda _: seen.extend(values(log.read(10, 1 << 20, 0))))
    answered.result()
    log.close()

    assert seen == [b"a", b"b"]
