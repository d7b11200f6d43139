"""Several processes migrate one store at once, die at any statement, and lose answers: the schema is the same.

Each test does this while a new store is made, and while an older release's store gets the migrations of a newer one.
"""

import copy
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from clickhouse_connect.driver.client import Client

from engine.errors import StoreUnavailable
from engine.store.clickhouse import Store
from engine.store.errors import NO_LIMITS, Limits
from engine.store.migrations import Migration, known_migrations, run_pending
from engine.store.opening import open_store
from tests.harness.clickhouse import ClickHouse, server_settings
from tests.harness.clickhouse_faults import FaultKind
from tests.harness.command import meterport
from tests.harness.long_form import LONG
from tests.harness.own_clickhouse import server
from tests.harness.schemas import NEWER, completed, schema
from tests.harness.topics import wait_for

__all__ = ["server"]  # a fixture of another file
pytestmark = pytest.mark.thorough

_numbers = itertools.count()
_TIMEOUT_SECONDS = 60  # a stalled statement waits for this long at most
STEP = 1 if LONG else 3  # Commands are killed at each statement in every form.
OLDER = ("0001_events", "0009_meters", "0012_subjects")  # what of the older release's store is needed here


class Work:
    """What is migrated: databases that already have the first `done` of the `known` migrations.

    `statements`: how many statements one process sends that nothing disturbs.
    """

    def __init__(self, server: ClickHouse, data_dir: Path, known: list[Migration], done: int) -> None:
        self.server, self.data_dir, self.known, self.done = server, data_dir, known, done
        seen: list[None] = []
        with self.stores(1) as [undisturbed]:
            run_pending(with_steps(undisturbed, lambda: seen.append(None)), known)
            self._schema = schema(undisturbed)
        self.statements = len(seen)

    def open(self, database: str) -> Store:
        return open_store(
            server_settings(self.server.url, self.data_dir, database=database, timeout_seconds=_TIMEOUT_SECONDS)
        )

    @contextmanager
    def stores(self, number: int = 2) -> Iterator[list[Store]]:
        """Yield the connections of several processes to a new database, and drop it."""
        database = f"migrated_{next(_numbers)}"
        opened = [self.open(database) for _ in range(number)]
        if self.done:
            run_pending(opened[0], self.known[: self.done])
            opened[0].command("INSERT INTO meters (id, version) VALUES ('kept', 1)")
        try:
            yield opened
            opened[0].command(f"DROP DATABASE {database} SYNC")
        finally:
            for store in opened:
                store.close()

    def check(self, store: Store) -> None:
        """Check that all has run, and that the result is that of one process that nothing disturbed."""
        assert schema(store) == self._schema
        assert completed(store) == [migration.name for migration in self.known]
        assert run_pending(store, self.known) == []
        if self.done:
            assert store.rows("SELECT id FROM meters") == [("kept",)]


@pytest.fixture(params=["a new store", "the store of an older release"])
def work(request: pytest.FixtureRequest, server: ClickHouse, tmp_path: Path) -> Iterator[Work]:
    known = known_migrations(server_settings(server.url, tmp_path))
    if request.param == "a new store":
        yield Work(server, tmp_path, known, 0)
    else:
        older = [migration for migration in known if migration.name in OLDER]
        yield Work(server, tmp_path, [*older, *NEWER], len(older))
    server.behave()


def with_steps(store: Store, after: Callable[[], None]) -> Store:
    """Return a store with the same connections that calls `after` when a statement has been answered."""
    changed = copy.copy(store)
    lend = changed._handle

    @contextmanager
    def handle(limits: Limits = NO_LIMITS) -> Iterator[Client]:
        with lend(limits) as client:
            yield client
        after()

    changed._handle = handle  # type: ignore[method-assign]
    return changed


def at(number: int, act: Callable[..., object], *arguments: object) -> Callable[[], None]:
    """Return a function that acts at its call of this number, the first of which is 1. Number 0: it acts now."""
    calls = itertools.count(1)

    def call() -> None:
        if next(calls) == number:
            act(*arguments)

    if number == 0:
        act(*arguments)
    return call


# --- several at once


def test_one_migrates_all_while_another_pauses_after_any_of_its_statements(work: Work) -> None:
    """The one that pauses then runs its statement again, after later ones have run."""
    for number in range(1, work.statements + 1):
        with work.stores() as [first, second]:
            run_pending(with_steps(first, at(number, run_pending, second, work.known)), work.known)

            work.check(first)


@pytest.mark.parametrize("work", ["the store of an older release"], indirect=True)
def test_what_another_has_completed_meanwhile_is_not_run_again(work: Work) -> None:
    """A migration may take long. (Those of a new store do not, and are not looked up one by one.)"""
    with work.stores() as [first, second]:
        paused = with_steps(first, at(2, run_pending, second, work.known))  # It has read what is pending.

        assert run_pending(paused, work.known) == []


@pytest.mark.parametrize("seed", range(60 if LONG else 6))
def test_two_take_turns_in_any_order(work: Work, seed: int) -> None:
    """Seed 0: strictly one statement each."""
    turns = Turns(Random(seed) if seed else None)  # noqa: S311 - reproducible, not secret
    with work.stores() as stores:

        def run(number: int) -> None:
            with turns.of(number):
                run_pending(with_steps(stores[number], lambda: turns.give(number)), work.known)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(run, range(2)))

        work.check(stores[0])


def test_many_at_the_same_moment(work: Work) -> None:
    with work.stores(8) as stores:
        together = threading.Barrier(len(stores))

        def run(store: Store) -> None:
            together.wait()
            run_pending(store, work.known)

        with ThreadPoolExecutor(len(stores)) as pool:
            list(pool.map(run, stores))

        work.check(stores[0])


class Turns:
    """Lets one of two threads go on at a time. `chance` decides which; None: they alternate."""

    def __init__(self, chance: Random | None) -> None:
        self._chance = chance
        self._changed = threading.Condition()
        self._turn = 0
        self._running = {0, 1}

    @contextmanager
    def of(self, number: int) -> Iterator[None]:
        self._wait(number)
        try:
            yield
        finally:
            with self._changed:
                self._running.discard(number)
                self._turn = 1 - number
                self._changed.notify_all()

    def give(self, number: int) -> None:
        with self._changed:
            self._turn = 1 - number if self._chance is None else self._chance.randrange(2)
            if self._turn not in self._running:
                self._turn = number
            self._changed.notify_all()
        self._wait(number)

    def _wait(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._turn == number, 60)


# --- one does not complete


@pytest.mark.parametrize("kind", ["reset", "lose-answer"])
def test_one_loses_its_server_at_any_statement_and_another_completes(work: Work, kind: FaultKind) -> None:
    """`reset`: the statement did not run. `lose-answer`: it ran."""
    for number in range(0, work.statements, STEP):
        with work.stores() as [first, second]:
            broken = with_steps(first, at(number, work.server.misbehave, kind))
            with pytest.raises(StoreUnavailable):
                run_pending(broken, work.known)
            work.server.behave()

            run_pending(second, work.known)

            work.check(second)


def test_one_stalls_in_any_statement_while_another_completes(work: Work) -> None:
    """Its statement is run when the other one has already run all of them."""
    for number in range(0, work.statements, STEP):
        before = work.server.struck("stall")
        with work.stores() as [first, second], ThreadPoolExecutor(1) as pool:
            stalled = pool.submit(run_pending, with_steps(first, at(number, _stall_one, work.server)), work.known)
            wait_for(lambda before=before: work.server.struck("stall") > before, work.server.tail)  # type: ignore[misc]
            run_pending(second, work.known)
            work.server.behave()
            stalled.result()

            work.check(second)


def _stall_one(server: ClickHouse) -> None:
    server.misbehave("stall", statements=1)


# --- the command


def test_the_command_is_killed_after_each_of_its_statements_and_the_next_one_completes(work: Work) -> None:
    """By SIGKILL. The command has only this release's migrations: an older release's store lacks the last three."""
    known = known_migrations(server_settings(work.server.url, work.data_dir))
    own = Work(work.server, work.data_dir, known, len(known) - 3 if work.done else 0)
    killed = 0
    for number in itertools.count(1):
        with own.stores(1) as [store]:
            [[database]] = store.rows("SELECT currentDatabase()")
            variables = {"METERPORT_STORE__URL": own.server.url, "METERPORT_STORE__DATABASE": database}

            died = meterport("migrate", variables={**variables, "METERPORT_FAULT": f"schema.after-statement:{number}"})
            if died.returncode == 0:
                break
            assert died.returncode == -9, died.stderr
            killed += 1
            run_pending(store, known)

            own.check(store)
    # The table of records; then three statements for each of three migrations, or two inserts and one for each.
    assert killed == (1 + 3 * 3 if work.done else 1 + 2 + len(known))
