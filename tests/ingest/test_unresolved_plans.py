"""A plan that runs again keeps the same events as in its first run, whatever else was read in between.

A process dies with an insert half done: some tables have the block, some do not. Until its plan runs again, events that
it may have stored must not be checked for duplicates. The consumer and the store are real. The log is in memory, so
that a test decides which process has which partition, and in which order partitions come back.
"""

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from engine.config.settings import IngestSettings
from engine.instants import Clock, milliseconds, utc_now
from engine.meters.definition import parse_definition
from engine.meters.fill import Filler
from engine.meters.meter import Meter, MeterState
from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import Store
from engine.usage.answers import UsageQuery, query_json
from ingest.claims import BatchClaims
from ingest.consumer import Consumer
from ingest.event_log import Plan, Range
from ingest.fill_barrier import FillBarrier
from tests.harness.long_form import LONG
from tests.harness.memory_log import MemoryLog, MemoryTopic

PARTITIONS = 3
IDS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4)
_histories = itertools.count()


class Killed(BaseException):
    """The process ends here, after what it has done so far."""


class Process:
    """A process that consumes some partitions until it ends or dies."""

    def __init__(self, store: Store, topic: MemoryTopic, *partitions: int, clock: Clock = utc_now) -> None:
        self.log = MemoryLog(topic, partitions)
        self.consumer = Consumer(self.log, store, IngestSettings(), threading.Event(), clock)
        self.registry = MeterRegistry(store, clock)
        self.filler = Filler(store, self.registry, FillBarrier(self.consumer.unresolved, self.consumer.claims), clock)

    def start(self) -> "Process":
        self.consumer.start()
        return self

    def drain(self) -> None:
        while self.consumer.step(0):
            pass


@contextmanager
def killed_in_an_insert(store: Store, *without: str) -> Iterator[None]:
    """Let the next insert into `events` skip the tables of the views `without`, and then kill the process."""
    insert = store.insert_block

    def insert_half(table: str, *arguments: Any) -> None:
        if table != "events":
            insert(table, *arguments)
            return
        for view in without:
            store.command(f"DETACH TABLE {view} SYNC")
        try:
            insert(table, *arguments)
        finally:
            for view in without:
                store.command(f"ATTACH TABLE {view}")
        raise Killed

    store.insert_block = insert_half  # type: ignore[method-assign,assignment]
    try:
        yield
    except Killed:
        pass
    finally:
        store.insert_block = insert  # type: ignore[method-assign]


def event(id_: str, type_: str = "call") -> bytes:
    return f'{{"specversion":"1.0","id":"{id_}","source":"s","type":"{type_}","subject":"u"}}'.encode()


def append(topic: MemoryTopic, partition: int, *ids: str) -> None:
    topic.append(partition, *map(event, ids), arrived_ms=milliseconds(utc_now()))


def counts(store: Store, *tables: str) -> list[int]:
    return [int(store.rows(f"SELECT count() FROM {table}")[0][0]) for table in tables or ("events", "event_keys")]


@pytest.fixture
def topic() -> MemoryTopic:
    return MemoryTopic()


def half_insert(store: Store, topic: MemoryTopic, *ids: str) -> None:
    """Leave a plan on partition 0 whose block is in `events` and not in `event_keys`."""
    append(topic, 0, *ids)
    dead = Process(store, topic, 0, 1).start()
    with killed_in_an_insert(store, "event_keys_view"):
        dead.drain()
    assert counts(store) == [len(ids), 0]
    assert len(topic.plans) == 1


def test_an_event_sent_again_while_its_plan_waits_on_another_partition_is_stored_once(
    store: Store, topic: MemoryTopic
) -> None:
    half_insert(store, topic, "a", "b")
    append(topic, 1, "a", "c")

    alive = Process(store, topic, 1).start()
    alive.drain()
    alive.log.give(0)
    alive.drain()

    assert counts(store) == [3, 3]
    assert topic.is_drained


def test_a_plan_stored_at_the_start_is_acknowledged_before_its_partition_comes_back(
    store: Store, topic: MemoryTopic
) -> None:
    """Otherwise it would run again after the tables have forgotten its token, and be stored twice."""
    half_insert(store, topic, "a")
    append(topic, 1, "b")

    Process(store, topic, 1).start().drain()

    assert topic.is_drained


def test_a_plan_whose_keys_the_claims_forgot_is_run_before_anything_is_judged(store: Store, topic: MemoryTopic) -> None:
    """Several processes share the store, and all were down for more than the three hours that keys are kept."""
    store.shared = True
    half_insert(store, topic, "a", "b")
    store.command("ALTER TABLE event_claims UPDATE keys = '' WHERE 1 SETTINGS mutations_sync = 1")
    append(topic, 1, "a", "c")

    Process(store, topic, 1).start().drain()
    Process(store, topic, 0).start().drain()

    assert counts(store) == [3, 3]


def test_claims_forgotten_while_a_process_slept_are_made_good_before_it_goes_on(
    store: Store, topic: MemoryTopic
) -> None:
    store.shared = True
    sleeper = Process(store, topic, 1).start()
    half_insert(store, topic, "a", "b")
    store.command("ALTER TABLE event_claims UPDATE keys = '' WHERE 1 SETTINGS mutations_sync = 1")
    append(topic, 1, "a", "c")

    sleeper.drain()
    Process(store, topic, 0).start().drain()

    assert counts(store) == [3, 3]


def test_a_plan_this_process_has_stored_is_not_run_again_when_its_partition_comes_back(
    store: Store, topic: MemoryTopic
) -> None:
    append(topic, 0, "a")
    append(topic, 1, "b")
    process = Process(store, topic, 0, 1).start()
    acknowledge = process.log.acknowledge
    process.log.acknowledge = lambda _: None  # type: ignore[method-assign,assignment]
    process.consumer.step(0)
    process.log.acknowledge = acknowledge  # type: ignore[method-assign]
    process.log.take(0)
    process.log.give(0)
    store.command("ALTER TABLE events MODIFY SETTING non_replicated_deduplication_window = 0")  # forget its tokens

    process.drain()

    assert counts(store, "events") == [2]
    assert topic.is_drained


def test_a_meter_is_not_answered_from_its_rollup_while_a_batch_is_in_it_only_in_part(
    store: Store, topic: MemoryTopic
) -> None:
    """Until then the raw events answer, which already contain the batch: usage must not decrease."""
    store.shared = True
    now = utc_now()
    dead = Process(store, topic, 1, clock=lambda: now).start()
    meter = dead.registry.create(parse_definition({"slug": "m", "eventType": "call", "aggregation": "COUNT"}))
    now += timedelta(seconds=5)
    append(topic, 1, "a", "b")
    with killed_in_an_insert(store, f"{meter.rollup}_minute_view"):
        dead.drain()
    leader = Process(store, topic, 0, clock=lambda: now).start()

    for _ in range(5):
        leader.filler.step()
    assert usage_of(store, leader, "m") == (MeterState.FILLING, 2)
    leader.log.give(1)
    leader.drain()
    for _ in range(5):
        leader.filler.step()

    assert usage_of(store, leader, "m") == (MeterState.READY, 2)


def usage_of(store: Store, process: Process, slug: str) -> tuple[MeterState, int]:
    """Return the state of a meter and its total."""
    meter = process.registry.find(slug)
    rows = json.loads(query_json(store, meter, UsageQuery().resolved(meter)).rows)
    return meter.state, int(rows[0]["value"]) if rows else 0


def check(store: Store, alone: bool, most: int, **options: Any) -> None:
    wanted = settings(max_examples=most, stateful_step_count=30, deadline=None, database=None, **options)
    run_state_machine_as_test(machine(store, alone), settings=wanted)


@pytest.mark.timeout(3600 if LONG else 300)
@pytest.mark.parametrize("alone", [True, False], ids=["one process", "processes that share a store"])
def test_no_order_of_steps_loses_or_doubles_an_event_or_takes_back_shown_usage(store: Store, alone: bool) -> None:
    check(store, alone, 400 if LONG else 6)


if LONG:

    @pytest.mark.timeout(3600)
    @pytest.mark.parametrize(
        ("guard", "alone", "without"),
        [
            ((BatchClaims, "covers"), True, lambda *_: True),
            ((BatchClaims, "covers"), False, lambda *_: True),
            ((FillBarrier, "whole"), False, lambda *_: True),
        ],
        ids=["unresolved plans first, one process", "unresolved plans first, several", "whole batches before ready"],
    )
    def test_without_its_guards_the_harness_finds_such_an_order(
        store: Store,
        monkeypatch: pytest.MonkeyPatch,
        guard: tuple[type, str],
        alone: bool,
        without: Callable[..., bool],
    ) -> None:
        """This takes minutes. The tests above run the same orders of steps one by one."""
        monkeypatch.setattr(*guard, without)
        with pytest.raises(AssertionError):
            check(store, alone, 5000, phases=[Phase.generate], report_multiple_bugs=False)


def machine(store: Store, alone: bool) -> type[RuleBasedStateMachine]:
    members = 1 if alone else 2

    class Processes(RuleBasedStateMachine):
        """Partitions are given to processes and taken away one by one. Others belong to no process."""

        def __init__(self) -> None:
            super().__init__()
            store.shared = not alone
            self.type = f"call{next(_histories)}"
            self.now = utc_now()
            self.topic = MemoryTopic()
            self.ids: set[str] = set()
            self.shown: dict[str, int] = {}
            self.owners: dict[int, int] = {}
            self.processes = [self.new_process() for _ in range(members)]
            self.create()

        def new_process(self, *partitions: int) -> Process:
            return Process(store, self.topic, *partitions, clock=self.clock).start()

        def clock(self) -> datetime:
            self.now += timedelta(milliseconds=1)
            return self.now

        @rule(
            partition=st.integers(0, PARTITIONS - 1), ids=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4)
        )
        def append(self, partition: int, ids: list[str]) -> None:
            self.ids |= set(ids)
            values = (event(f"{self.type} {id_}", self.type) for id_ in ids)
            self.topic.append(partition, *values, arrived_ms=milliseconds(self.clock()))

        @rule(partition=st.integers(0, PARTITIONS - 1), number=st.integers(0, members - 1))
        def give(self, partition: int, number: int) -> None:
            if partition in self.owners:
                self.processes[self.owners.pop(partition)].log.take(partition)
            self.owners[partition] = number
            self.processes[number].log.give(partition)

        @rule(partition=st.integers(0, PARTITIONS - 1))
        def take(self, partition: int) -> None:
            if partition in self.owners:
                self.processes[self.owners.pop(partition)].log.take(partition)

        @rule(number=st.integers(0, members - 1))
        def step(self, number: int) -> None:
            self.processes[number].consumer.step(0)

        @rule(number=st.integers(0, members - 1), missed=st.integers(1, 7))
        def die(self, number: int, missed: int) -> None:
            """Kill a process in its next insert, which reaches all tables except those of some views."""
            views = ["event_keys_view", *self.meter_views()]
            with killed_in_an_insert(store, *(view for at, view in enumerate(views) if missed >> (at % 3) & 1)):
                self.processes[number].consumer.step(0)
            self.owners = {partition: owner for partition, owner in self.owners.items() if owner != number}
            self.processes[number] = self.new_process()

        def meter_views(self) -> list[str]:
            meters = self.meters()
            found = store.rows(
                "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'MaterializedView'"
                " AND name LIKE '%minute_view' ORDER BY name"
            )
            return [name for (name,) in found if any(name.startswith(meter.rollup) for meter in meters)]

        def meters(self) -> list[Meter]:
            registry = self.processes[0].registry
            registry.refresh()
            return [meter for meter in registry.all() if meter.definition.event_type == self.type]

        @rule()
        def create(self) -> None:
            meters = self.meters()
            if len(meters) < 2:
                body = {"slug": f"{self.type}_{len(meters)}", "eventType": self.type, "aggregation": "COUNT"}
                self.processes[0].registry.create(parse_definition(body))

        @rule(number=st.integers(0, members - 1))
        def fill(self, number: int) -> None:
            self.now += timedelta(seconds=1)
            self.processes[number].registry.refresh()
            self.processes[number].filler.step()

        @rule()
        def forget(self) -> None:
            """Let claims lose their keys, as after some hours."""
            store.command("ALTER TABLE event_claims UPDATE keys = '' WHERE 1 SETTINGS mutations_sync = 1")

        @rule(
            partition=st.integers(0, PARTITIONS - 1), records=st.integers(1, 9), days=st.sampled_from([-400, 0, 30_000])
        )
        def forge(self, partition: int, records: int, days: int) -> None:
            """Commit a forged plan for records that wait in a partition without a process (S8)."""
            start = self.topic.committed.get(partition, 0)
            end = min(start + records, len(self.topic.records.get(partition, [])))
            if partition not in self.owners and partition not in self.topic.plans and start < end:
                stored_ms = milliseconds(self.clock() + timedelta(days=days))
                self.topic.plans[partition] = Plan((Range(partition, start, end),), stored_ms)

        @rule()
        def look(self) -> None:
            for meter in self.meters():
                _, usage = usage_of(store, self.processes[0], meter.slug)
                assert usage >= self.shown.get(meter.slug, 0), f"{meter.slug}: {self.shown[meter.slug]}, then {usage}"
                self.shown[meter.slug] = usage

        def teardown(self) -> None:
            for partition in range(PARTITIONS):
                self.give(partition, partition % members)
            for process in self.processes:
                process.drain()
            for _ in range(20):
                self.fill(0)
            self.look()
            found = [
                store.rows(
                    f"SELECT count(), uniqExact(key) FROM {table} WHERE key IN (SELECT key FROM events"
                    f" WHERE type = '{self.type}')"
                )[0]
                for table in ("events", "event_keys")
            ]
            assert found == [(len(self.ids),) * 2] * 2
            for meter in self.meters():
                assert usage_of(store, self.processes[0], meter.slug) == (MeterState.READY, len(self.ids))
                self.processes[0].registry.delete(meter.slug)
            assert self.topic.is_drained

    return Processes
