"""The SQLite log and the store are restored separately: the start reports exactly what is missing (N10)."""

import logging
import shutil
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from engine.config.settings import IngestSettings
from engine.instants import milliseconds, utc_now
from engine.store.clickhouse import Store
from ingest.consumer import Consumer
from ingest.event_log import SEE_GAPS, ranges_of
from ingest.restored import compare_with_store
from ingest.sqlite.log import SqliteLog
from ingest.stored_positions import StoredPositions
from tests.harness.alerts import check_fires, scrape
from tests.harness.services import available_or_skip
from tests.ingest.gaps import gaps, gaps_before

__all__ = ["gaps_before"]  # a fixture of another file

GOOD = b'{"specversion":"1.0","id":"%d","source":"s","type":"call","subject":"u"}'
TABLES = ("events", "event_keys", "dead_letters", "event_claims", "log_positions")


def _open(directory: Path, store: Store) -> "closing[SqliteLog]":
    return closing(SqliteLog(directory / "log.sqlite", 1 << 30, StoredPositions(store)))


def _run(directory: Path, store: Store, *numbers: int) -> None:
    """Run one process that accepts some events, stores everything, and ends."""
    with _open(directory, store) as log:
        compare_with_store(log, store)
        log.append([GOOD % number for number in numbers], milliseconds(utc_now())).result()
        consumer = Consumer(log, store, IngestSettings(), threading.Event())
        consumer.start()
        while consumer.step(0):
            pass
        consumer._acknowledge()


def _copy(directory: Path) -> Path:
    saved = directory.with_name("saved")
    shutil.copytree(directory, saved)
    return saved


def _restore(saved: Path, directory: Path) -> None:
    shutil.rmtree(directory)
    saved.rename(directory)


def _ids(store: Store) -> list[int]:
    return [int(id_) for (id_,) in store.rows("SELECT id FROM events ORDER BY toInt64(id)")]


def _reasons(store: Store) -> list[str]:
    return [reason for (reason,) in store.rows("SELECT reason FROM dead_letters")]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    return made


def test_a_store_that_is_older_than_the_log_is_reported_once(
    directory: Path, store: Store, gaps_before: float, caplog: pytest.LogCaptureFixture
) -> None:
    """The missing events were deleted from the log when they were stored, so they cannot be read again."""
    _run(directory, store, 0, 1, 2)
    backup = {table: store.rows(f"SELECT * FROM {table}") for table in ("events", "log_positions")}
    _run(directory, store, 3, 4)
    for table in TABLES:
        store.command(f"TRUNCATE TABLE {table}")
    columns = {table: [name for (name, *_) in store.rows(f"DESCRIBE TABLE {table}")] for table in backup}
    for table, rows in backup.items():
        store.insert_rows(table, columns[table], rows)

    _run(directory, store, 5)
    _run(directory, store, 6)

    lost = (
        "offsets 4 to 5 were stored, but not in this store: it is an older copy or another store, and the event log no "
        "longer holds them"
    )
    assert _ids(store) == [0, 1, 2, 5, 6]
    assert _reasons(store) == [lost]
    assert gaps() == gaps_before + 1
    said = [record.getMessage().partition(": ")[2] for record in caplog.records if record.levelno == logging.ERROR]
    assert said == [f"{lost} {SEE_GAPS}"]


def test_an_empty_store_beside_an_old_log_is_reported(directory: Path, store: Store, gaps_before: float) -> None:
    _run(directory, store, 0, 1, 2)
    for table in TABLES:
        store.command(f"TRUNCATE TABLE {table}")

    _run(directory, store, 3)

    assert _ids(store) == [3]
    assert [reason[:23] for reason in _reasons(store)] == ["offsets 1 to 3 were sto"]
    assert gaps() == gaps_before + 1
    found = scrape()  # nothing has changed since the process started: there was no scrape before
    available_or_skip(lambda: check_fires("MeterportUsageMissing", found, found, 1))


def test_a_log_that_is_older_than_the_store_is_reported_and_takes_no_position_twice(
    directory: Path, store: Store, gaps_before: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Events that were accepted after the backup and not stored are lost with the newer file."""
    _run(directory, store, 0, 1)
    saved = _copy(directory)
    _run(directory, store, 2, 3, 4)
    _restore(saved, directory)

    _run(directory, store, 5)
    _run(directory, store, 6)

    assert _ids(store) == list(range(7))
    assert gaps() == gaps_before + 1
    assert "offset 6 was reached, but the event log ends at 3" in caplog.text
    assert store.rows("SELECT count(), uniqExact(log_offset) FROM events") == [(7, 7)]


def test_both_restored_from_one_instant_are_no_gap(directory: Path, store: Store, gaps_before: float) -> None:
    _run(directory, store, 0, 1)
    for _ in range(3):
        _run(directory, store)
    _run(directory, store, 2)

    assert _ids(store) == [0, 1, 2]
    assert gaps() == gaps_before


def test_a_log_without_notes_is_no_gap(directory: Path, store: Store, gaps_before: float) -> None:
    with closing(SqliteLog(directory / "log.sqlite", 1 << 30)) as log:
        log.append([GOOD % 0], milliseconds(utc_now())).result()
        consumer = Consumer(log, store, IngestSettings(), threading.Event())
        consumer.start()
        consumer.step(0)
        assert log.noted_position is None

    _run(directory, store, 1)

    assert _ids(store) == [0, 1]
    assert gaps() == gaps_before


def _dead_letters(log: SqliteLog) -> None:
    log.append([b"garbage"] * 2, milliseconds(utc_now())).result()


def _duplicates(log: SqliteLog) -> None:
    log.append([GOOD % 0], milliseconds(utc_now())).result()


@pytest.mark.parametrize("last", [_dead_letters, _duplicates])
@pytest.mark.parametrize("died", ["before its plan", "in its plan", "after it"])
def test_what_a_process_that_died_has_left_is_no_gap(
    directory: Path,
    store: Store,
    gaps_before: float,
    last: Callable[[SqliteLog], None],
    died: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does not matter whether it had stored its position recently."""
    for seconds in (0.0, 1000.0):
        monkeypatch.setattr("ingest.sqlite.log._NOTE_SECONDS", seconds)
        _run(directory, store, 0)
        with _open(directory, store) as log:
            last(log)
            consumer = Consumer(log, store, IngestSettings(), threading.Event())
            consumer.start()
            if died == "in its plan":
                assert log.plan(ranges_of(log.read(10, 1000, 0)), milliseconds(utc_now())) is not None
            elif died == "after it":
                consumer.step(0)
            log._stored_position = None  # a killed process stores nothing at its end

        _run(directory, store, 7)

        assert gaps() == gaps_before
        assert 7 in _ids(store)
