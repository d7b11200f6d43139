"""The store over HTTP, on a ClickHouse that refuses, stalls, resets, is killed, and has many clients at once."""

import itertools
import json
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from engine.errors import StoreError, StoreUnavailable, Unauthorized
from engine.events.event import Event, event_block, event_key
from engine.instants import milliseconds, utc_now
from engine.meters.definition import parse_definition
from engine.meters.meter import Meter, MeterState
from engine.meters.registry import MeterRegistry
from engine.meters.rollups import GRAINS, create_rollup
from engine.store.clickhouse import Store
from engine.store.migrations import migrate
from engine.store.opening import open_store
from meterport.process import Process
from tests.harness.clickhouse import ClickHouse, server_settings
from tests.harness.clickhouse_faults import FaultKind
from tests.harness.long_form import LONG
from tests.harness.server import Server
from tests.harness.topics import wait_for

HANDLES = 12
TIMEOUT_SECONDS = 2
_EARLY = datetime(1970, 1, 1, tzinfo=UTC)
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    started = ClickHouse(tmp_path_factory.mktemp("clickhouse"))
    started.start()
    yield started
    started.kill()


@pytest.fixture
def store(server: ClickHouse, tmp_path: Path) -> Iterator[Store]:
    opened = _open(server, tmp_path)
    yield opened
    server.behave()
    opened.close()


@pytest.fixture
def meter(store: Store) -> Meter:
    return _meter(store)


def _open(server: ClickHouse, data_dir: Path) -> Store:
    settings = server_settings(
        server.url,
        data_dir,
        database=f"over_http_{next(_numbers)}",
        handles=HANDLES,
        timeout_seconds=TIMEOUT_SECONDS,
    )
    opened = open_store(settings)
    migrate(opened, settings)
    return opened


def _meter(store: Store) -> Meter:
    definition = parse_definition({"slug": "m", "eventType": "call", "aggregation": "COUNT"})
    meter = Meter("1", 1, definition, MeterState.READY, "meter_m_00000000", _EARLY, _EARLY, _EARLY, _EARLY)
    create_rollup(store, meter)
    return meter


def _block(number: int, rows: int = 100) -> pa.Table:
    now_ms = milliseconds(utc_now())
    ids = [f"{number}-{at}" for at in range(rows)]
    events = [
        Event(id_, "s", "call", "u", now_ms, b'{"v":1}', b"", now_ms, 0, number * rows + at, event_key("s", id_))
        for at, id_ in enumerate(ids)
    ]
    return event_block(events, now_ms)


def _stored(store: Store, meter: Meter) -> dict[str, int]:
    counts = {name: f"SELECT count() FROM {name}" for name in ("events", "event_keys")}
    counts |= {grain: f"SELECT toInt64(sum(n)) FROM {meter.table(grain)}" for grain in GRAINS}
    return {name: int(store.rows(statement)[0][0]) for name, statement in counts.items()}


def _everywhere(count: int) -> dict[str, int]:
    return dict.fromkeys(["events", "event_keys", *GRAINS], count)


# --- every kind of call -----------------------------------------------------------------------------------------------


def test_every_kind_of_call(store: Store, meter: Meter) -> None:
    for _ in range(2):
        store.insert_block("events", _block(1), "one")
    event = {
        "source": "s",
        "type": "call",
        "subject": "v",
        "time": "2026-01-01 00:00:00",
        "stored_at": "2100-01-01 00:00:00",
    }
    lines = [json.dumps(event | {"id": str(at), "log_offset": at}).encode() for at in range(2)]
    store.insert_formatted("events", b"\n".join(lines), "JSONEachRow", "two")
    store.insert_rows("subjects", ("id", "version", "key", "created_at"), [("i", 1, "ü\t'\\", _EARLY)])
    store.command("CREATE TABLE made (a UInt8) ENGINE = Memory")

    assert _stored(store, meter) == _everywhere(102)
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
    store.insert_block("events", _block(next(_numbers)), "t")


# --- exactly once -----------------------------------------------------------------------------------------------------


def test_an_insert_whose_answer_was_lost_is_there_once_after_the_retry(
    store: Store, meter: Meter, server: ClickHouse
) -> None:
    server.misbehave("lose-answer", inserts_only=True)
    with pytest.raises(StoreUnavailable):
        store.insert_block("events", _block(1), "t")
    assert server.struck("lose-answer") > 0
    assert _stored(store, meter) == _everywhere(100)
    server.behave()

    store.insert_block("events", _block(1), "t")

    assert _stored(store, meter) == _everywhere(100)


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
        store.insert_block("events", _block(1), "t")
    store.insert_block("events", _block(1), "t")
    assert _stored(store, meter) == _everywhere(100)
    server.behave()

    store.rows("SELECT sleep(1)")  # the stalled statement runs during this time
    assert _stored(store, meter) == _everywhere(100)


def test_a_block_inserted_by_many_at_the_same_moment_is_there_once(store: Store, meter: Meter) -> None:
    """This is like eight processes that take over the same plan. It is essential where a batch may have two owners."""
    together = threading.Barrier(8)
    blocks = [_block(number) for number in range(50 if LONG else 15)]

    def insert(_: int) -> None:
        for number, block in enumerate(blocks):
            together.wait()
            store.insert_block("events", block, f"block {number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(insert, range(8)))

    assert _stored(store, meter) == _everywhere(len(blocks) * 100)
    assert store.rows("SELECT count() FROM events GROUP BY id HAVING count() != 1") == []


def test_a_part_that_a_kill_kept_from_its_place_is_there_after_the_retry(
    store: Store, meter: Meter, server: ClickHouse
) -> None:
    """The token is logged, but the part is lost (tests/ingest/test_lost_part.py). The front repairs it as we do."""
    store.insert_block("events", _block(1), "t")
    found = "SELECT data_paths[1] FROM system.tables WHERE database = currentDatabase() AND name = 'events'"
    table = Path(store.rows(found)[0][0])
    server.kill()
    [part] = [entry for entry in table.iterdir() if entry.is_dir() and entry.name.count("_") == 3]
    shutil.rmtree(part)
    server.start()
    assert _stored(store, meter) == _everywhere(100) | {"events": 0}

    store.insert_block("events", _block(1), "t")

    assert _stored(store, meter) == _everywhere(100)
    assert "deduplication_record_without_part_removed" in server.tail()


def test_kills_in_the_middle_of_inserts_lose_and_double_nothing(tmp_path: Path) -> None:
    server = ClickHouse(tmp_path / "clickhouse")
    server.start()
    store = _open(server, tmp_path)
    meter = _meter(store)
    inserters = [_Inserter(store, first) for first in range(3)]
    chance = random.Random(15)  # noqa: S311 - when to kill
    for inserter in inserters:
        inserter.start()
    kills = 15 if LONG else 6
    for _ in range(kills):
        time.sleep(chance.uniform(0.05, 0.4))
        server.kill()
        server.start()
    for inserter in inserters:
        inserter.stop.set()
        inserter.join(60)

    blocks = sum(inserter.inserted for inserter in inserters)
    try:
        assert _stored(store, meter) == _everywhere(blocks * 100)
        assert store.rows("SELECT uniqExact(id) FROM events") == [(blocks * 100,)]
        assert sum(inserter.retries for inserter in inserters) >= kills
    finally:
        store.close()
        server.terminate()


class _Inserter(threading.Thread):
    """Inserts one block after another. Each is repeated with its token until it is accepted."""

    def __init__(self, store: Store, first: int) -> None:
        super().__init__(daemon=True)
        self._store = store
        self._numbers = itertools.count(first, 3)
        self.stop = threading.Event()
        self.inserted = self.retries = 0

    def run(self) -> None:
        while not self.stop.is_set():
            number = next(self._numbers)
            block = _block(number)
            while not self._take(block, f"block {number}"):
                self.retries += 1
                time.sleep(0.02)
            self.inserted += 1

    def _take(self, block: pa.Table, token: str) -> bool:
        try:
            self._store.insert_block("events", block, token)
        except StoreUnavailable:
            return False
        return True


# --- the product ------------------------------------------------------------------------------------------------------


def test_a_process_on_a_server_takes_events_and_answers(server: ClickHouse, tmp_path: Path) -> None:
    variables = {
        "METERPORT_STORE__URL": server.url,
        "METERPORT_STORE__DATABASE": "served",
        "METERPORT_PORTAL__TOKEN_KEYS": '["0123456789abcdef0123"]',
    }
    meterport = Server(tmp_path, variables=variables)
    meterport.start()
    try:
        with httpx.Client(base_url=f"{meterport.url}/api/v1", timeout=30) as client:
            meter = {"slug": "tokens", "eventType": "prompt", "aggregation": "SUM", "valueProperty": "$.tokens"}
            client.post("/meters", json=meter).raise_for_status()
            for number in range(10):
                event = {"specversion": "1.0", "id": str(number), "source": "s", "type": "prompt", "subject": "acme"}
                body = json.dumps(event | {"data": {"tokens": 1.5}})
                client.post("/events", content=body, headers={"Content-Type": "application/cloudevents+json"})
            token = client.post("/portal/tokens", json={"subject": "acme"}).json()["token"]
            asked = {"Authorization": f"Bearer {token}"}

            def total() -> float:
                [row] = client.get("/portal/meters/tokens/query", headers=asked).json()["data"] or [{"value": 0}]
                return float(row["value"])

            _wait_until(lambda: total() == 15)
    finally:
        assert meterport.terminate() == 0
    assert not (tmp_path / "data" / "store").exists()


def _wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class BusyRegistry(MeterRegistry):
    """A registry that, once it is busy, never finishes reading its many meters."""

    def __init__(self, store: Store) -> None:
        self.looks, self.idle = threading.Event(), threading.Event()
        self.idle.set()
        super().__init__(store)

    def refresh(self) -> None:
        super().refresh()
        if not self.idle.is_set():
            self.looks.set()
            self.idle.wait()


def test_a_process_honours_a_revocation_however_busy_its_registry(server: ClickHouse, tmp_path: Path) -> None:
    """Contract 1.2: two processes share one store."""
    database = f"revoked_{next(_numbers)}"
    one, other = (Process(server_settings(server.url, tmp_path / name, database=database)) for name in ("one", "other"))
    other.registry = busy = BusyRegistry(other.store)
    try:
        for service in (one, other):
            service.start()
        record, token = one.tokens.create("customer-1", None, None)
        other.tokens.verify(token)
        busy.idle.clear()
        assert busy.looks.wait(30)

        one.tokens.invalidate(record.id, None)

        assert wait_for(lambda: _is_revoked(other, token)) < 10  # within a second on a machine that is not busy
    finally:
        busy.idle.set()
        for service in (one, other):
            service.stop()


def _is_revoked(service: Process, token: str) -> bool:
    try:
        service.tokens.verify(token)
    except Unauthorized as refusal:
        return str(refusal) == "invalid token: revoked"
    return False


def test_processes_that_start_at_once_make_a_configured_meter_once(server: ClickHouse, tmp_path: Path) -> None:
    """As in a deployment: several processes start on an empty store with the same meters in their settings."""
    meters = [{"slug": f"m{at}", "eventType": "call", "aggregation": "COUNT"} for at in range(3)]
    database = f"started_{next(_numbers)}"
    services = [
        Process(server_settings(server.url, tmp_path / name, database=database).model_copy(update={"meters": meters}))
        for name in ("one", "other", "third")
    ]
    together = threading.Barrier(len(services), timeout=30)

    def start(service: Process) -> None:
        together.wait()
        service.start()

    try:
        with ThreadPoolExecutor(len(services)) as threads:
            for started in [threads.submit(start, service) for service in services]:
                started.result()
        made = MeterRegistry(services[0].store).all()
    finally:
        for service in services:
            service.stop()

    assert sorted(meter.slug for meter in made) == ["m0", "m1", "m2"]
