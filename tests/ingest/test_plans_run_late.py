"""Plans that run again late, or in a process with outdated knowledge: no event is lost and none is doubled.

Each test is one order of steps that once lost or doubled events (docs/design.md R8, R11b). The tests make tables forget
their tokens, as happens in production after 10,000 blocks.
"""

import shutil
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from engine.config.settings import IngestSettings
from engine.errors import LogUnavailable, StoreUnavailable
from engine.instants import milliseconds, utc_now
from engine.store.clickhouse import Store
from ingest.consumer import Consumer
from ingest.event_log import Plan, Range
from ingest.restored import compare_with_store
from ingest.sqlite.log import SqliteLog
from ingest.stored_positions import StoredPositions
from tests.harness.memory_log import MemoryTopic
from tests.ingest.dying_process import Killed, Process, append, counts, event, half_insert, killed_in_an_insert


@pytest.fixture
def topic() -> MemoryTopic:
    return MemoryTopic()


def forget_tokens(store: Store) -> None:
    store.command("ALTER TABLE events MODIFY SETTING non_replicated_deduplication_window = 0")


def forget_keys(store: Store) -> None:
    store.command("ALTER TABLE event_claims UPDATE keys = '' WHERE 1 SETTINGS mutations_sync = 1")


@contextmanager
def killed_before_an_insert(store: Store) -> Iterator[None]:
    """Let the process end instead of inserting events."""
    insert = store.insert_block

    def end(table: str, *arguments: Any) -> None:
        if table == "events":
            raise Killed
        insert(table, *arguments)

    store.insert_block = end  # type: ignore[method-assign,assignment]
    try:
        with suppress(Killed):
            yield
    finally:
        store.insert_block = insert  # type: ignore[method-assign]


def consume(log: SqliteLog, store: Store) -> None:
    """Do what a process does that has just started, until the log is empty."""
    compare_with_store(log, store)
    consumer = Consumer(log, store, IngestSettings(), threading.Event())
    consumer.start()
    while consumer.step(0):
        pass


# the SQLite log


def test_a_batch_is_not_deleted_when_the_store_is_away_while_it_is_planned(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planning also stores the position of the previous batch. If that failed, the next try took the new one for it."""
    now = milliseconds(utc_now())
    log = SqliteLog(tmp_path / "log.sqlite", 1 << 20, StoredPositions(store))
    log.append([event(f"a{number}") for number in range(150)], now).result()
    consumer = Consumer(log, store, IngestSettings(batch_rows=100), threading.Event())
    consumer.start()
    note, fails = StoredPositions.note, iter([True])

    def away_at_first(*arguments: Any) -> None:
        if next(fails, False):
            raise StoreUnavailable("away")
        note(*arguments)

    monkeypatch.setattr(StoredPositions, "note", away_at_first)
    consumer.step(0)
    with killed_before_an_insert(store):
        consumer.step(0)
    log.close()

    with closing(SqliteLog(tmp_path / "log.sqlite", 1 << 20, StoredPositions(store))) as again:
        consume(again, store)

    assert counts(store) == [150, 150]


def test_a_plan_in_an_older_copy_of_the_log_is_not_run_again(store: Store, tmp_path: Path) -> None:
    path, older = tmp_path / "log.sqlite", tmp_path / "older"
    log = SqliteLog(path, 1 << 20, StoredPositions(store))
    log.append([event("a")], milliseconds(utc_now())).result()
    consumer = Consumer(log, store, IngestSettings(), threading.Event())
    consumer.start()
    acknowledge = log.acknowledge
    log.acknowledge = lambda _: None  # type: ignore[method-assign,assignment]
    consumer.step(0)
    older.mkdir()
    for file in tmp_path.glob("log.sqlite*"):
        shutil.copy(file, older)
    log.acknowledge = acknowledge  # type: ignore[method-assign]
    log.append([event("b"), event("c")], milliseconds(utc_now())).result()
    consumer.step(0)
    log.close()
    forget_tokens(store)

    with closing(SqliteLog(older / "log.sqlite", 1 << 20, StoredPositions(store))) as restored:
        consume(restored, store)

    assert counts(store, "events") == [3]


# a store that one process uses


def test_a_plan_that_is_void_is_not_released_as_stored(store: Store, topic: MemoryTopic) -> None:
    append(topic, 0, "a", "b")
    dead = Process(store, topic, 0, 1).start()
    plan, discard = dead.log.plan, dead.log.discard

    def plan_before_a_barrier(ranges: tuple[Range, ...], stored_ms: int) -> Plan | None:
        made = plan(ranges, stored_ms)
        dead.consumer.claims.set_barrier(stored_ms + 1)
        return made

    def end(_: Plan) -> None:
        raise Killed

    dead.log.plan, dead.log.discard = plan_before_a_barrier, end  # type: ignore[method-assign,assignment]
    with suppress(Killed):
        dead.consumer.step(0)
    dead.log.plan, dead.log.discard = plan, discard  # type: ignore[method-assign]
    assert counts(store) == [0, 0]
    append(topic, 1, "c")

    alive = Process(store, topic, 1).start()
    alive.drain()
    alive.log.give(0)
    alive.drain()

    assert counts(store) == [3, 3]


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
def test_ingest_goes_on_after_the_clock_of_the_store_was_ahead(store: Store, topic: MemoryTopic, shared: bool) -> None:
    """Before, the process did not see its own claim, and loaded the filter of all keys again and again."""
    store.shared = shared
    store.command(
        "INSERT INTO event_claims (token, owner, stored_at, events, keys, claimed_at) "
        "SELECT 'x', 'memory y', now64(3), 0, '', now64(3) + INTERVAL 3 HOUR"
    )
    append(topic, 0, "a")

    Process(store, topic, 0).start().drain()

    assert counts(store) == [1, 1]


# a store that several processes use


def test_a_plan_finished_by_another_while_its_records_did_not_come_is_not_run(store: Store, topic: MemoryTopic) -> None:
    store.shared = True
    half_insert(store, topic, "a", "b")
    cut_off = Process(store, topic).start()
    cut_off.log.give(0)
    reread = cut_off.log.reread

    def away_at_first(_: Plan) -> Any:
        cut_off.log.reread = reread  # type: ignore[method-assign]
        cut_off.log.take(0)
        Process(store, topic, 0).start().drain()
        assert counts(store) == [2, 2]
        forget_tokens(store)
        raise LogUnavailable("no broker")

    cut_off.log.reread = away_at_first  # type: ignore[method-assign,assignment]
    cut_off.drain()

    assert counts(store, "events") == [2]


def test_a_process_paused_between_its_plan_and_its_insert_stores_nothing_twice(
    store: Store, topic: MemoryTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = [0.0]
    for module in ("consumer", "block_writer"):
        monkeypatch.setattr(f"ingest.{module}.time", SimpleNamespace(monotonic=lambda: monotonic() + passed[0]))
    store.shared = True
    append(topic, 0, "a", "b")
    paused = Process(store, topic, 0).start()
    plan = paused.log.plan

    def plan_and_pause(ranges: tuple[Range, ...], stored_ms: int) -> Plan | None:
        made = plan(ranges, stored_ms)
        paused.log.take(0)
        Process(store, topic, 0).start().drain()
        forget_tokens(store)
        passed[0] = 3600
        return made

    paused.log.plan = plan_and_pause  # type: ignore[method-assign]
    paused.consumer.step(0)

    assert counts(store, "events") == [2]


def test_keys_that_are_too_old_to_be_loaded_and_not_yet_dropped_do_not_cover_a_plan(
    store: Store, topic: MemoryTopic
) -> None:
    """A merge drops the keys of claims, possibly late. A process loads only the keys of the last three hours."""
    store.shared = True
    half_insert(store, topic, "a", "b")
    columns = "token, owner, stored_at, events, keys, claimed_at"
    store.command(f"CREATE TABLE aside ENGINE = MergeTree ORDER BY () AS SELECT {columns} FROM event_claims")
    store.command("TRUNCATE TABLE event_claims")
    store.command("SYSTEM STOP TTL MERGES event_claims")
    store.command(
        f"INSERT INTO event_claims ({columns}) SELECT * REPLACE (claimed_at - INTERVAL 4 HOUR AS claimed_at) FROM aside"
    )
    append(topic, 1, "a", "c")

    Process(store, topic, 1).start().drain()
    Process(store, topic, 0).start().drain()

    assert counts(store) == [3, 3]
    store.command("SYSTEM START TTL MERGES event_claims")


def test_a_newer_claim_of_the_same_process_does_not_cover_an_older_plan(store: Store, topic: MemoryTopic) -> None:
    """A process that slept claims a plan, notices forgotten keys, runs another plan first, and is killed in it."""
    store.shared = True
    sleeper = Process(store, topic).start()
    for partition, id_ in ((0, "a"), (2, "b")):
        append(topic, partition, id_)
        dead = Process(store, topic, partition).start()
        with killed_in_an_insert(store, "event_keys_view"):
            dead.drain()
    forget_keys(store)
    sleeper.log.give(0)
    with killed_in_an_insert(store, "event_keys_view"):
        sleeper.drain()

    append(topic, 1, "a")
    Process(store, topic, 1).start().drain()
    Process(store, topic, 0, 2).start().drain()

    assert counts(store) == [2, 2]
