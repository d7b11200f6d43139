"""Duplicates between two processes, when the store fails during the duplicate check: known keys are not forgotten.

The chaos suite (tests/chaos) found each of these cases first: events were counted twice.
"""

import contextlib
from datetime import timedelta

import pytest

from engine.errors import LogUnavailable, StoreUnavailable
from engine.events.event import Keys, event_key
from engine.instants import utc_now
from engine.store.clickhouse import Store
from ingest.bloom_filter import as_keys
from ingest.claims import BatchClaims
from ingest.duplicates import Voided
from ingest.event_log import Plan
from tests.harness.rivals import NOW, Process

DAY_MS = 86_400_000


@pytest.fixture
def processes(store: Store) -> tuple[Process, Process]:
    planned: list[Plan] = []
    return Process(store, 1, planned), Process(store, 2, planned)


def test_a_claim_made_again_keeps_its_place(processes: tuple[Process, Process]) -> None:
    one, other = processes
    first, second = one.plan(), other.plan()
    one.claims.claim(first, one_key("a"))  # its answer is lost
    other.claims.claim(second, one_key("a"))  # its answer is lost, too

    kept = len(one.drop(first, "a")), len(other.drop(second, "a"))

    assert kept == (1, 0)


def test_what_others_claimed_is_told_though_the_look_fails_after_it_was_read(
    processes: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = processes
    assert one.store(one.plan(), "a") == ["a"]
    plan = other.plan()
    monkeypatch.setattr(BatchClaims, "_first_block", unavailable)
    with pytest.raises(StoreUnavailable):
        other.drop(plan, "a")
    monkeypatch.undo()

    assert other.store(plan, "a") == []


def test_what_others_claimed_is_told_though_the_plan_is_void(processes: tuple[Process, Process]) -> None:
    one, other = processes
    assert one.store(one.plan(), "a") == ["a"]
    one.claims.set_barrier(NOW + 1)
    with pytest.raises(Voided):
        other.drop(other.plan(), "a")

    assert other.store(other.plan(NOW + 2), "a") == []


def test_a_filter_that_could_not_be_loaded_anew_is_not_asked(
    processes: tuple[Process, Process], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = processes
    assert one.store(one.plan(), "a") == ["a"]
    store.command("ALTER TABLE event_claims UPDATE keys = '' WHERE 1 SETTINGS mutations_sync = 1")  # hours later
    plan = other.plan()
    monkeypatch.setattr(Store, "arrow", unavailable)
    with pytest.raises(StoreUnavailable):
        other.drop(plan, "a")
    monkeypatch.undo()

    assert other.store(plan, "a") == []


def test_a_plan_run_again_hours_later_drops_what_it_dropped_at_the_edge_of_the_window(store: Store) -> None:
    """Otherwise tables that the first run did not reach would get an event that the other tables do not have."""
    planned: list[Plan] = []
    first = Process(store, 1, planned)
    store.shared = False  # so its claims contain no keys
    assert first.store(first.plan(NOW - 35 * DAY_MS + 1000), "a") == ["a"]
    plan = first.plan()
    assert len(first.drop(plan, "a", "b")) == 1  # then the process dies

    again = Process(store, 1, planned, clock=lambda: utc_now() + timedelta(hours=20))

    assert len(again.drop(plan, "a", "b")) == 1


def test_what_another_log_claimed_and_did_not_store_is_waited_for(store: Store) -> None:
    """A process died before its insert. A new group was configured since, which does not know the old group's plans."""
    hours = 0
    one = Process(store, 1, [], "topic/before")
    theirs = one.plan()
    one.drop(theirs, "a", "b")
    other = Process(store, 2, [], "topic/after", lambda: utc_now() + timedelta(hours=hours))
    ours = other.plan()

    with pytest.raises(
        LogUnavailable, match="the log topic/before has claimed events of this batch, but has not stored"
    ):
        other.drop(ours, "a", "b")
    one.store(theirs, "a", "b")
    assert other.store(ours, "a", "b", "c") == ["c"]

    one.drop(one.plan(), "d")  # it never continues
    later = other.plan()
    with pytest.raises(LogUnavailable):
        other.drop(later, "d")
    hours = 4
    assert other.store(later, "d") == ["d"]


def test_a_barrier_is_not_forgotten_when_claims_cannot_be_loaded(
    processes: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = processes
    one.claims.set_barrier(NOW + 1)
    plan = other.plan()
    monkeypatch.setattr(BatchClaims, "_read", unavailable)
    with contextlib.suppress(StoreUnavailable):
        other.duplicates.load()
    with pytest.raises(StoreUnavailable):
        other.drop(plan, "a")
    monkeypatch.undo()

    with pytest.raises(Voided):
        other.drop(plan, "a")


def one_key(id_: str) -> Keys:
    return as_keys([event_key("s", id_)])


def unavailable(*_: object, **__: object) -> object:
    raise StoreUnavailable("for a moment")
