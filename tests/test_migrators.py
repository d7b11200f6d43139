"""Several processes migrate one store at once, and die or pause at any statement: the schema is the same.

Each test does this while a new store is made, and while an older release's store gets the migrations of a newer one.
The processes are threads with a store that counts its statements. What only a network and real processes add is in the
long form: lost answers, statements that stall, and SIGKILL of the command, which tests/console/test_migrate.py kills
once.
"""

import copy
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from clickhouse_connect.driver.client import Client

from engine.config.loading import load_settings
from engine.config.settings import Settings
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
OLDER = ("0001_events", "0009_meters", "0012_subjects")  # what of the older release's store is needed here
KINDS = ["a new store", "the store of an older release"]


class Work:
    """What is migrated: databases that already have the first `done` of the `known` migrations.

    `settings`: returns those of a store in a database. `statements`: how many statements one process has answered that
    nothing disturbs.
    """

    def __init__(self, settings: Callable[[str], Settings], known: list[Migration], done: int) -> None:
        self.settings, self.known, self.done = settings, known, done
        seen: list[None] = []
        with self.store() as undisturbed:
            run_pending(with_steps(undisturbed, lambda: seen.append(None)), known)
            self._schema = schema(undisturbed)
        self.statements = len(seen)

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Yield the connections to a new database, which several processes may use, and drop it."""
        settings = self.settings(f"migrated_{os.getpid()}_{next(_numbers)}")
        store = open_store(settings)
        if self.done:
            run_pending(store, self.known[: self.done])
            store.command("INSERT INTO meters (id, version) VALUES ('kept', 1)")
        try:
            yield store
            store.command(f"DROP DATABASE {settings.store.database} SYNC")
        finally:
            store.close()

    def check(self, store: Store) -> None:
        """Check that all has run, and that the result is that of one process that nothing disturbed."""
        assert schema(store) == self._schema
        assert completed(store) == [migration.name for migration in self.known]
        assert run_pending(store, self.known) == []
        if self.done:
            assert store.rows("SELECT id FROM meters") == [("kept",)]


def work_of(kind: str, settings: Callable[[str], Settings]) -> Work:
    known = known_migrations(settings("any"))
    if kind == "a new store":
        return Work(settings, known, 0)
    older = [migration for migration in known if migration.name in OLDER]
    return Work(settings, [*older, *NEWER], len(older))


@pytest.fixture(params=KINDS, scope="module")
def work(request: pytest.FixtureRequest, data_dir: Path) -> Work:
    return work_of(
        request.param, lambda name: load_settings(overrides={"data_dir": data_dir, "store": {"database": name}})
    )


@pytest.fixture(params=KINDS)
def remote_work(request: pytest.FixtureRequest, server: ClickHouse, tmp_path: Path) -> Iterator[Work]:
    """Yield work on a server that can be made to misbehave."""
    yield work_of(
        request.param,
        lambda name: server_settings(server.url, tmp_path, database=name, timeout_seconds=_TIMEOUT_SECONDS),
    )
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


def test_another_completes_after_one_has_died_or_paused_after_any_of_its_statements(work: Work) -> None:
    """The one that paused then runs its statement again, after later ones have run."""
    for number in range(1, work.statements + 1) if LONG else range(2, work.statements + 1, 3):
        with work.store() as store:

            def migrate_and_check(store: Store = store) -> None:
                run_pending(store, work.known)
                work.check(store)

            run_pending(with_steps(store, at(number, migrate_and_check)), work.known)

            work.check(store)


@pytest.mark.parametrize("work", ["the store of an older release"], indirect=True)
def test_what_another_has_completed_meanwhile_is_not_run_again(work: Work) -> None:
    """A migration may take long. (Those of a new store do not, and are not looked up one by one.)"""
    with work.store() as store:
        paused = with_steps(store, at(2, run_pending, store, work.known))  # It has read what is pending.

        assert run_pending(paused, work.known) == []


@pytest.mark.parametrize("seed", range(60 if LONG else 2))
def test_two_take_turns_in_any_order(work: Work, seed: int) -> None:
    """Seed 0: strictly one statement each."""
    turns = Turns(Random(seed) if seed else None)  # noqa: S311 - reproducible, not secret
    with work.store() as store:

        def run(number: int) -> None:
            with turns.of(number):
                run_pending(with_steps(store, lambda: turns.give(number)), work.known)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(run, range(2)))

        work.check(store)


def test_many_at_the_same_moment(work: Work) -> None:
    number = 8 if LONG else 4
    with work.store() as store:
        together = threading.Barrier(number)

        def run(_: int) -> None:
            together.wait()
            run_pending(store, work.known)

        with ThreadPoolExecutor(number) as pool:
            list(pool.map(run, range(number)))

        work.check(store)


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


# --- over a network


@pytest.mark.only_long
@pytest.mark.parametrize("kind", ["reset", "lose-answer"])
def test_one_loses_its_server_at_any_statement_and_another_completes(
    remote_work: Work, server: ClickHouse, kind: FaultKind
) -> None:
    """`reset`: the statement did not run. `lose-answer`: it ran."""
    for number in range(remote_work.statements):
        with remote_work.store() as store:
            broken = with_steps(store, at(number, server.misbehave, kind))
            with pytest.raises(StoreUnavailable):
                run_pending(broken, remote_work.known)
            server.behave()

            run_pending(store, remote_work.known)

            remote_work.check(store)


@pytest.mark.only_long
def test_one_stalls_in_any_statement_while_another_completes(remote_work: Work, server: ClickHouse) -> None:
    """Its statement is run when the other one has already run all of them."""
    for number in range(remote_work.statements):
        before = server.struck("stall")
        with remote_work.store() as store, ThreadPoolExecutor(1) as pool:
            slow = with_steps(store, at(number, _stall_one, server))
            stalled = pool.submit(run_pending, slow, remote_work.known)
            wait_for(lambda before=before: server.struck("stall") > before, server.tail)  # type: ignore[misc]
            run_pending(store, remote_work.known)
            server.behave()
            stalled.result()

            remote_work.check(store)


def _stall_one(server: ClickHouse) -> None:
    server.misbehave("stall", statements=1)


@pytest.mark.only_long
def test_the_command_is_killed_after_each_of_its_statements_and_the_next_one_completes(
    remote_work: Work, server: ClickHouse
) -> None:
    """By SIGKILL. The command has only this release's migrations: an older release's store lacks the last three."""
    known = known_migrations(remote_work.settings("any"))
    own = Work(remote_work.settings, known, len(known) - 3 if remote_work.done else 0)
    killed = 0
    for number in itertools.count(1):
        with own.store() as store:
            [[database]] = store.rows("SELECT currentDatabase()")
            variables = {"METERPORT_STORE__URL": server.url, "METERPORT_STORE__DATABASE": database}

            died = meterport("migrate", variables={**variables, "METERPORT_FAULT": f"schema.after-statement:{number}"})
            if died.returncode == 0:
                break
            assert died.returncode == -9, died.stderr
            killed += 1
            run_pending(store, known)

            own.check(store)
    # The table of records; then three statements for each of three migrations, or two inserts and one for each.
    assert killed == (1 + 3 * 3 if remote_work.done else 1 + 2 + len(known))
