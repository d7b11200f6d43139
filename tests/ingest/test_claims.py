"""Whatever three processes do, in any order, each event is stored once, and rows before a passed barrier do not change.

Only the log of the processes is not real: it is a list. They die, come back as zombies, and take over plans.
"""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from engine.events.event import EventBatch
from engine.store.clickhouse import Store
from ingest.claims import BatchClaims
from ingest.duplicates import Voided
from ingest.event_log import Plan
from tests.harness.long_form import LONG
from tests.harness.rivals import NOW, Process

PROCESSES = 3
_SOON = 7  # a seed whose search finds soon what a missing guard lets through; others take up to a minute
_partitions = itertools.count(1)
_clock = itertools.count(NOW)
_histories = itertools.count()


@dataclass
class Batch:
    """A plan, the ids of its events, and its progress."""

    plan: Plan
    ids: tuple[str, ...]
    kept: EventBatch | None = None
    owner: int | None = None


@dataclass
class History:
    """The steps so far, and what the store must contain in the end."""

    store: Store
    planned: list[Plan] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    zombies: list[tuple[Process, Batch]] = field(default_factory=list)
    settled: dict[int, int] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)


def check(machine_: type[RuleBasedStateMachine], most: int, **options: Any) -> None:
    wanted = settings(max_examples=most, stateful_step_count=40, deadline=None, database=None, **options)
    run_state_machine_as_test(machine_, settings=wanted)


def test_each_event_is_stored_once_by_whoever_claimed_it_first(store: Store) -> None:
    check(machine(store), 300 if LONG else 6)


@pytest.mark.parametrize(
    ("guard", "without"),
    [
        ("_came_before", lambda *_: False),
        ("_is_void", lambda *_: False),
    ],
    ids=["order", "barriers"],
)
def test_without_what_claims_know_it_is_not_so(
    store: Store, monkeypatch: pytest.MonkeyPatch, guard: str, without: Callable[..., bool]
) -> None:
    monkeypatch.setattr(BatchClaims, guard, without)
    with pytest.raises(AssertionError):
        check(seed(_SOON)(machine(store)), 1000, phases=[Phase.generate], report_multiple_bugs=False)


class Processes(RuleBasedStateMachine):
    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.name = next(_histories)
        self.history = History(store)
        self.processes = [self.new_process() for _ in range(PROCESSES)]

    def new_process(self) -> Process:
        return Process(self.store, next(_partitions), self.history.planned)

    def batch_of(self, number: int) -> Batch | None:
        return next((batch for batch in self.history.batches if batch.owner == number), None)

    @rule(
        number=st.integers(0, PROCESSES - 1),
        ids=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4),
        late_ms=st.integers(0, 20),
    )
    def plan(self, number: int, ids: list[str], late_ms: int) -> None:
        process = self.processes[number]
        if self.batch_of(number) is None:
            plan = process.plan(max(next(_clock) - late_ms, process.claims.floor_ms))
            named = tuple(f"{self.name} {id_}" for id_ in ids)
            self.history.begun |= set(named)
            self.history.batches.append(Batch(plan, named, owner=number))

    @rule(number=st.integers(0, PROCESSES - 1))
    def claim(self, number: int) -> None:
        batch, process = self.batch_of(number), self.processes[number]
        if batch is None:
            return
        try:
            kept = process.drop(batch.plan, *batch.ids)
        except Voided:
            assert batch.kept is None, "voided after it was begun"
            self.history.planned.remove(batch.plan)
            batch.plan = Plan(batch.plan.ranges, max(next(_clock), process.claims.floor_ms))
            self.history.planned.append(batch.plan)
        else:
            assert batch.kept is None or kept.keys.tobytes() == batch.kept.keys.tobytes()
            batch.kept = kept

    @rule(number=st.integers(0, PROCESSES - 1), finish=st.booleans())
    def insert(self, number: int, finish: bool) -> None:
        batch = self.batch_of(number)
        if batch is not None and batch.kept is not None:
            self.processes[number].insert(batch.plan, batch.kept)
            if finish:
                self.history.planned.remove(batch.plan)
                self.history.batches.remove(batch)

    @rule(number=st.integers(0, PROCESSES - 1), heir=st.integers(0, PROCESSES - 1))
    def die(self, number: int, heir: int) -> None:
        """End a process, whose plan another must finish. The old one may only be paused and wake up later."""
        batch = self.batch_of(number)
        old, self.processes[number] = self.processes[number], self.new_process()
        if batch is not None:
            self.history.zombies.append((old, Batch(batch.plan, batch.ids, batch.kept)))
            batch.owner = heir if self.batch_of(heir) is None else number

    @precondition(lambda self: self.history.zombies)
    @rule(data=st.data())
    def wake(self, data: st.DataObject) -> None:
        process, batch = data.draw(st.sampled_from(self.history.zombies))
        # Without this its plan is no longer current, and the process does not insert.
        if batch.plan in self.history.planned and batch.kept is not None:
            process.insert(batch.plan, batch.kept)

    @rule(number=st.integers(0, PROCESSES - 1))
    def set_barrier(self, number: int) -> None:
        before_ms = next(_clock)
        self.processes[number].claims.set_barrier(before_ms)
        if all(plan.stored_ms >= before_ms for plan in self.history.planned):
            self.history.settled[before_ms] = self.stored_before(before_ms)

    def stored_before(self, before_ms: int) -> int:
        [(count,)] = self.store.rows(
            f"SELECT count() FROM events WHERE toUnixTimestamp64Milli(stored_at) < {before_ms}"
        )
        return int(count)

    def stored(self) -> Counter[str]:
        found = self.store.rows("SELECT id FROM events WHERE startsWith(id, {own:String})", own=f"{self.name} ")
        return Counter(id_ for (id_,) in found)

    def teardown(self) -> None:
        for number in range(PROCESSES):
            for _ in range(3):  # one try that a barrier voids, one that claims, one that inserts
                self.claim(number)
            self.insert(number, True)
        assert self.stored() == dict.fromkeys(self.history.begun, 1)
        for before_ms, count in self.history.settled.items():
            assert self.stored_before(before_ms) == count


def machine(store: Store) -> type[RuleBasedStateMachine]:
    class OfStore(Processes):
        def __init__(self) -> None:
            super().__init__(store)

    return OfStore
