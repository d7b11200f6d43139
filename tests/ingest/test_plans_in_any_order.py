"""In any order of steps, plans that run again neither lose nor double an event, and shown usage does not decrease.

Hypothesis searches for wrong orders: processes get and lose partitions, and die in an insert. The consumer and the
store are real, the log is in memory.
"""

import itertools
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from engine.instants import milliseconds, utc_now
from engine.meters.definition import parse_definition
from engine.meters.meter import Meter, MeterState
from engine.store.clickhouse import Store
from ingest.claims import BatchClaims
from ingest.event_log import Plan, Range
from ingest.fill_barrier import FillBarrier
from tests.harness.long_form import LONG
from tests.harness.memory_log import MemoryTopic
from tests.ingest.dying_process import Process, event, killed_in_an_insert, usage_of

PARTITIONS = 3
_histories = itertools.count()
_NUMBERS: st.SearchStrategy[int] = st.runner().flatmap(lambda processes: st.integers(0, processes.members - 1))


def check(store: Store, alone: bool, most: int, **options: Any) -> None:
    wanted = settings(max_examples=most, stateful_step_count=30, deadline=None, database=None, **options)
    run_state_machine_as_test(machine(store, alone), settings=wanted)


@pytest.mark.timeout(3600 if LONG else 300)
@pytest.mark.parametrize("alone", [True, False], ids=["one process", "processes that share a store"])
def test_no_order_of_steps_loses_or_doubles_an_event_or_takes_back_shown_usage(store: Store, alone: bool) -> None:
    check(store, alone, 400 if LONG else 6)


@pytest.mark.only_long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("guard", "alone", "without"),
    [
        ((BatchClaims, BatchClaims.covers.__name__), True, lambda *_: True),
        ((BatchClaims, BatchClaims.covers.__name__), False, lambda *_: True),
        ((FillBarrier, FillBarrier.all_stored_whole.__name__), False, lambda *_: True),
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
    """This takes minutes. tests/ingest/test_unresolved_plans.py runs the same orders of steps one by one."""
    monkeypatch.setattr(*guard, without)
    with pytest.raises(AssertionError):
        check(store, alone, 5000, phases=[Phase.generate], report_multiple_bugs=False)


class Processes(RuleBasedStateMachine):
    """Partitions are given to processes and taken away one by one. Others belong to no process."""

    def __init__(self, store: Store, alone: bool) -> None:
        super().__init__()
        self.store = store
        self.members = 1 if alone else 2
        store.shared = not alone
        self.type = f"call{next(_histories)}"
        self.now = utc_now()
        self.topic = MemoryTopic()
        self.ids: set[str] = set()
        self.shown: dict[str, int] = {}
        self.owners: dict[int, int] = {}
        self.processes = [self.new_process() for _ in range(self.members)]
        self.create()

    def new_process(self, *partitions: int) -> Process:
        return Process(self.store, self.topic, *partitions, clock=self.clock).start()

    def clock(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    @rule(partition=st.integers(0, PARTITIONS - 1), ids=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4))
    def append(self, partition: int, ids: list[str]) -> None:
        self.ids |= set(ids)
        values = (event(f"{self.type} {id_}", self.type) for id_ in ids)
        self.topic.append(partition, *values, arrived_ms=milliseconds(self.clock()))

    @rule(partition=st.integers(0, PARTITIONS - 1), number=_NUMBERS)
    def give(self, partition: int, number: int) -> None:
        if partition in self.owners:
            self.processes[self.owners.pop(partition)].log.take(partition)
        self.owners[partition] = number
        self.processes[number].log.give(partition)

    @rule(partition=st.integers(0, PARTITIONS - 1))
    def take(self, partition: int) -> None:
        if partition in self.owners:
            self.processes[self.owners.pop(partition)].log.take(partition)

    @rule(number=_NUMBERS)
    def step(self, number: int) -> None:
        self.processes[number].consumer.step(0)

    @rule(number=_NUMBERS, missed=st.integers(1, 7))
    def die(self, number: int, missed: int) -> None:
        """Kill a process in its next insert, which reaches all tables except those of some views."""
        views = ["event_keys_view", *self.meter_views()]
        with killed_in_an_insert(self.store, *(view for at, view in enumerate(views) if missed >> (at % 3) & 1)):
            self.processes[number].consumer.step(0)
        self.owners = {partition: owner for partition, owner in self.owners.items() if owner != number}
        self.processes[number] = self.new_process()

    def meter_views(self) -> list[str]:
        meters = self.meters()
        found = self.store.rows(
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

    @rule(number=_NUMBERS)
    def fill(self, number: int) -> None:
        self.now += timedelta(seconds=1)
        self.processes[number].registry.refresh()
        self.processes[number].filler.step()

    @rule()
    def forget(self) -> None:
        """Let claims lose their keys, as after some hours."""
        self.store.command("ALTER TABLE event_claims UPDATE keys = '' WHERE 1 SETTINGS mutations_sync = 1")

    @rule(partition=st.integers(0, PARTITIONS - 1), records=st.integers(1, 9), days=st.sampled_from([-400, 0, 30_000]))
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
            _, usage = usage_of(self.store, self.processes[0], meter.slug)
            assert usage >= self.shown.get(meter.slug, 0), f"{meter.slug}: {self.shown[meter.slug]}, then {usage}"
            self.shown[meter.slug] = usage

    def teardown(self) -> None:
        for partition in range(PARTITIONS):
            self.give(partition, partition % self.members)
        for process in self.processes:
            process.drain()
        for _ in range(20):
            self.fill(0)
        self.look()
        found = [
            self.store.rows(
                f"SELECT count(), uniqExact(key) FROM {table} WHERE key IN (SELECT key FROM events"
                f" WHERE type = '{self.type}')"
            )[0]
            for table in ("events", "event_keys")
        ]
        assert found == [(len(self.ids),) * 2] * 2
        for meter in self.meters():
            assert usage_of(self.store, self.processes[0], meter.slug) == (MeterState.READY, len(self.ids))
            self.processes[0].registry.delete(meter.slug)
        assert self.topic.is_drained


def machine(store: Store, alone: bool) -> type[RuleBasedStateMachine]:
    class OfStore(Processes):
        def __init__(self) -> None:
            super().__init__(store, alone)

    return OfStore
