"""A release beside a schema that a newer release has changed: it says so, and works with it if it can."""

import logging

import pytest

from engine import metrics
from engine.config.settings import Settings
from engine.errors import StoreMisconfigured
from engine.store.clickhouse import Store
from engine.store.migrations import (
    Migration,
    MigrationsPending,
    _record,
    known_migrations,
    migrate,
    prepare_schema,
    read_schema,
    run_pending,
)
from tests.harness.schemas import NEWER, NEWEST

pytestmark = pytest.mark.thorough


@pytest.fixture
def store(empty: Store) -> Store:
    return empty


@pytest.fixture
def known(settings: Settings) -> list[Migration]:
    return known_migrations(settings)


def shown(state: str) -> float | None:
    return metrics.REGISTRY.get_sample_value("meterport_schema_migrations", {"state": state})


def test_it_says_so_and_works_with_what_a_release_later_made(
    store: Store, settings: Settings, known: list[Migration], caplog: pytest.LogCaptureFixture
) -> None:
    run_pending(store, [*known, *NEWER[:3]])
    caplog.set_level(logging.INFO)

    prepare_schema(store, settings)

    assert caplog.messages == [
        "schema_newer migrations=0013_region, 0014_regions, 0015_by_region: a newer release made them"
    ]
    assert (shown("pending"), shown("newer")) == (0, 3)


def test_it_refuses_what_two_releases_later_made(store: Store, settings: Settings, known: list[Migration]) -> None:
    run_pending(store, [*known, *NEWER])

    for attempt in (prepare_schema, migrate):
        with pytest.raises(StoreMisconfigured) as refused:
            attempt(store, settings)

        assert str(refused.value) == (
            "the schema of this store is too new for this release: 0016_no_key can be used only by releases that know "
            "0013_region; install the release that made the schema, or a later one"
        )


def test_the_release_between_them_works_with_both(store: Store, known: list[Migration]) -> None:
    """It knows the migration that the newest one needs."""
    run_pending(store, [*known, *NEWER])

    found = read_schema(store, [*known, *NEWER[:3]])

    assert (found.pending, found.newer) == ([], ["0016_no_key"])


@pytest.mark.parametrize(("needs", "usable"), [(NEWEST, True), ("0013_begun", False)])
def test_a_newer_migration_that_has_only_begun_counts(
    store: Store, known: list[Migration], needs: str, usable: bool
) -> None:
    """Its release may have died in it: the schema may be changed already."""
    run_pending(store, known)
    _record(store, [Migration("0013_begun", "", "13", needs)], completed=False)

    if usable:
        assert read_schema(store, known).newer == ["0013_begun"]
    else:
        with pytest.raises(StoreMisconfigured, match="too new for this release: 0013_begun can"):
            read_schema(store, known)


def test_a_newer_release_that_died_while_it_made_the_store_is_noticed(
    store: Store, settings: Settings, known: list[Migration]
) -> None:
    """The records of a new store's migrations are written before the first of them runs."""
    run_pending_until_the_first(store, [*known, *NEWER[:1]])

    assert read_schema(store, known).newer == ["0013_region"]
    assert migrate(store, settings) == [migration.name for migration in known]


def run_pending_until_the_first(store: Store, known: list[Migration]) -> None:
    def die(_: str) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        run_pending(store, known, die)


def test_this_releases_own_migrations_run_although_a_newer_one_is_recorded(
    store: Store, settings: Settings, known: list[Migration]
) -> None:
    """A release was left out: the newer one died between the migrations of the two."""
    run_pending(store, known[:-1])
    _record(store, NEWER[:1], completed=False)

    assert migrate(store, settings) == [NEWEST]
    assert (shown("pending"), shown("newer")) == (0, 1)


def test_records_of_migrations_that_a_later_release_no_longer_has_are_passed_over(
    store: Store, known: list[Migration]
) -> None:
    """Several may become one, with the next number. The release before it has them all and is told by `needs`."""
    merged = Migration("0013_merged", "CREATE TABLE IF NOT EXISTS subjects (a UInt8) ENGINE = Log", "13", NEWEST)
    later = [*known[:3], merged]
    run_pending(store, known)

    assert run_pending(store, later) == ["0013_merged"]
    assert read_schema(store, later).newer == []
    assert read_schema(store, known).newer == ["0013_merged"]


def test_a_process_that_must_wait_names_what_is_pending_and_changes_nothing(
    store: Store, settings: Settings, known: list[Migration]
) -> None:
    run_pending(store, known[:-2])
    waits = settings.model_copy(update={"store": settings.store.model_copy(update={"migrate": "wait"})})

    with pytest.raises(MigrationsPending) as refused:
        prepare_schema(store, waits)

    assert str(refused.value) == (
        "the schema lacks migrations of this release: 0011_portal_invalidations, 0012_subjects; run `meterport migrate`"
    )
    assert (shown("pending"), shown("newer")) == (2, 0)
    assert len(read_schema(store, known).pending) == 2
    _record(store, known[-2:-1], completed=False)
    with pytest.raises(MigrationsPending, match="`meterport migrate` has begun: wait for it, or run it again if it"):
        prepare_schema(store, waits)
    migrate(store, settings)
    prepare_schema(store, waits)
    assert shown("pending") == 0
