"""The store over HTTP, on a ClickHouse that refuses, stalls, resets, is killed, and has many clients at once."""

import itertools
import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.errors import StoreError, StoreUnavailable
from engine.meters.meter import Meter
from engine.store.clickhouse import Store
from tests.harness.clickhouse import ClickHouse
from tests.harness.clickhouse_faults import FaultKind
from tests.harness.long_form import LONG
from tests.harness.own_clickhouse import server
from tests.harness.store_over_http import (
    EARLY,
    HANDLES,
    block_of_events,
    counting_meter,
    everywhere,
    open_over_http,
    stored_rows,
)

__all__ = ["server"]  # a fixture of another file

_numbers = itertools.count()


@pytest.fixture
def store(server: ClickHouse, tmp_path: Path) -> Iterator[Store]:
    opened = open_over_http(server, tmp_path)
    yield opened
    server.behave()
    opened.close()


@pytest.fixture
def meter(store: Store) -> Meter:
    return counting_meter(store)


# --- every kind of call -----------------------------------------------------------------------------------------------


def test_every_kind_of_call(store: Store, meter: Meter) -> None:
    for _ in range(2):
        store.insert_block("events", block_of_events(1), "one")
    event = {
        "source": "s",
        "type": "call",
        "subject": "v",
        "time": "2026-01-01 00:00:00",
        "stored_at": "2100-01-01 00:00:00",
    }
    lines = [json.dumps(event | {"id": str(at), "log_offset": at}).encode() for at in range(2)]
    store.insert_formatted("events", b"\n".join(lines), "JSONEachRow", "two")
    store.insert_rows("subjects", ("id", "version", "key", "created_at"), [("i", 1, "ü\t'\\", EARLY)])
    store.command("CREATE TABLE made (a UInt8) ENGINE = Memory")

    assert stored_rows(store, meter) == everywhere(102)
    assert store.rows("SELECT id, key FROM subjects WHERE key = {key:String}", key="ü\t'\\") == [("i", "ü\t'\\")]
    count = "SELECT subject, count() AS n FROM events GROUP BY subject ORDER BY subject"
    assert store.query_bytes(count, "JSONEachRow", {}) == b'{"subject":"u","n":100}\n{"subject":"v","n":2}\n'
    assert store.query_bytes(count, "CSV", {}) == b'"u",100\n"v",2\n'
    assert store.arrow(count).to_pylist() == [{"subject": "u", "n": 100}, {"subject": "v", "n": 2}]
    assert store.rows("EXISTS made") == [(1,)]


def test_as_many_connections_as_there_are_handles_are_kept(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with ThreadPoolExecutor(HANDLES) as pool:
        for _ in range(3):
            list(pool.map(lambda _: store.rows("SELECT sleep(0.1)"), range(HANDLES)))

    assert caplog.messages == []


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [159, 202, 209, 210, 241, 252, 425, 439])
def test_an_error_that_may_pass_is_unavailable(store: Store, server: ClickHouse, code: int) -> None:
    server.misbehave("error", code=code)

    for call in (_read, _insert):
        with pytest.raises(StoreUnavailable):
            call(store)


@pytest.mark.parametrize("code", [36, 47, 60, 62, 81, 117, 1000])
def test_any_other_error_carries_its_code(store: Store, server: ClickHouse, code: int) -> None:
    server.misbehave("error", code=code)

    for call in (_read, _insert):
        with pytest.raises(StoreError) as caught:
            call(store)
        assert caught.value.clickhouse_code == code


@pytest.mark.parametrize("kind", ["refuse", "stall", "reset", "lose-answer"])
def test_a_server_that_does_not_answer_is_unavailable_in_time_and_forgiven(
    store: Store, server: ClickHouse, kind: FaultKind
) -> None:
    for call in (
        _read,
        _insert,
        lambda store: store.command("CREATE TABLE IF NOT EXISTS made (a UInt8) ENGINE = Memory"),
        lambda store: store.arrow("SELECT 1"),
        lambda store: store.query_bytes("SELECT 1", "CSV", {}),
    ):
        server.misbehave(kind)
        with pytest.raises(StoreUnavailable):
            call(store)
        server.behave()
        _read(store)


def test_a_server_that_is_gone_and_comes_back_is_found_again(store: Store, server: ClickHouse) -> None:
    server.stop_signal()
    with pytest.raises(StoreUnavailable):
        _read(store)
    server.kill()
    with pytest.raises(StoreUnavailable):
        _read(store)
    server.start()

    _read(store)


def _read(store: Store) -> None:
    assert store.rows("SELECT {x:UInt8}", x=1) == [(1,)]


def _insert(store: Store) -> None:
    store.insert_block("events", block_of_events(next(_numbers)), "t")


# --- exactly once -----------------------------------------------------------------------------------------------------


def test_an_insert_whose_answer_was_lost_is_there_once_after_the_retry(
    store: Store, meter: Meter, server: ClickHouse
) -> None:
    server.misbehave("lose-answer", inserts_only=True)
    with pytest.raises(StoreUnavailable):
        store.insert_block("events", block_of_events(1), "t")
    assert server.struck("lose-answer") > 0
    assert stored_rows(store, meter) == everywhere(100)
    server.behave()

    store.insert_block("events", block_of_events(1), "t")

    assert stored_rows(store, meter) == everywhere(100)


def test_a_registry_row_whose_answer_was_lost_is_sent_twice_and_counts_once(store: Store, server: ClickHouse) -> None:
    """clickhouse-connect repeats an insert by itself. All tables that `insert_rows` writes must tolerate that."""
    store.command("SYSTEM STOP MERGES subjects")
    server.misbehave("lose-answer", statements=1, inserts_only=True)

    store.insert_rows("subjects", ("id", "version", "key"), [("i", 1, "k")])

    assert store.rows("SELECT count() FROM subjects") == [(2,)]
    assert store.rows("SELECT count() FROM subjects FINAL") == [(1,)]


def test_an_insert_that_is_run_after_its_retry_is_there_once(store: Store, meter: Meter, server: ClickHouse) -> None:
    server.misbehave("stall", inserts_only=True, statements=1)
    with pytest.raises(StoreUnavailable):
        store.insert_block("events", block_of_events(1), "t")
    store.insert_block("events", block_of_events(1), "t")
    assert stored_rows(store, meter) == everywhere(100)
    server.behave()

    store.rows("SELECT sleep(1)")  # the stalled statement runs during this time
    assert stored_rows(store, meter) == everywhere(100)


def test_a_block_inserted_by_many_at_the_same_moment_is_there_once(store: Store, meter: Meter) -> None:
    """This is like eight processes that take over the same plan. It is essential where a batch may have two owners."""
    together = threading.Barrier(8)
    blocks = [block_of_events(number) for number in range(50 if LONG else 15)]

    def insert(_: int) -> None:
        for number, block in enumerate(blocks):
            together.wait()
            store.insert_block("events", block, f"block {number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(insert, range(8)))

    assert stored_rows(store, meter) == everywhere(len(blocks) * 100)
    assert store.rows("SELECT count() FROM events GROUP BY id HAVING count() != 1") == []


def test_a_part_that_a_kill_kept_from_its_place_is_there_after_the_retry(
    store: Store, meter: Meter, server: ClickHouse
) -> None:
    """The token is logged, but the part is lost (tests/ingest/test_lost_part.py). The front repairs it as we do."""
    store.insert_block("events", block_of_events(1), "t")
    found = "SELECT data_paths[1] FROM system.tables WHERE database = currentDatabase() AND name = 'events'"
    table = Path(store.rows(found)[0][0])
    server.kill()
    [part] = [entry for entry in table.iterdir() if entry.is_dir() and entry.name.count("_") == 3]
    shutil.rmtree(part)
    server.start()
    assert stored_rows(store, meter) == everywhere(100) | {"events": 0}

    store.insert_block("events", block_of_events(1), "t")

    assert stored_rows(store, meter) == everywhere(100)
    assert "deduplication_record_without_part_removed" in server.tail()
