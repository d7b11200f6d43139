"""The schema: migrations can be run again, and the tables that they create equal a golden dump.

tests/test_migrators.py interrupts them at each statement.
"""

import os

import pytest

from engine.config.settings import Settings
from engine.errors import StoreMisconfigured
from engine.store.clickhouse import Store
from engine.store.migrations import MigrationsPending, known_migrations, migrate, read_schema
from engine.store.opening import open_store
from tests.harness.schemas import GOLDEN, HEADER, completed, schema

pytestmark = pytest.mark.thorough

BASELINE = [
    *("0001_events", "0002_event_keys", "0003_event_keys_view", "0004_event_claims", "0005_log_positions"),
    *("0006_dead_letters", "0007_dead_letter_replays", "0008_differing_duplicates"),
    *("0009_meters", "0010_portal_tokens", "0011_portal_invalidations", "0012_subjects"),
]  # the migrations of the first release
ALL = [*BASELINE]


def test_migrations_run_in_order_once(empty: Store, settings: Settings) -> None:
    first, second = migrate(empty, settings), migrate(empty, settings)

    assert first == ALL
    assert second == []
    assert completed(empty) == ALL


def test_migrations_are_numbered_without_a_gap(settings: Settings) -> None:
    names = [migration.name for migration in known_migrations(settings)]

    assert [name.partition("_")[0] for name in names] == [f"{at + 1:04d}" for at in range(len(names))]


def test_each_migration_after_the_first_release_says_which_releases_can_work_with_it(settings: Settings) -> None:
    """It names an earlier one, so that the release before it, which does not have it, goes on during an upgrade."""
    for migration in known_migrations(settings)[len(BASELINE) :]:
        assert BASELINE[-1] <= migration.needs < migration.name, migration.name


def test_a_start_with_nothing_to_do_changes_nothing(empty: Store, settings: Settings) -> None:
    """Such a start needs no right to change tables, and reads as little as it can."""
    migrate(empty, settings)

    def refuse(*_: object) -> None:
        raise PermissionError

    empty.command = empty.insert_rows = refuse  # type: ignore[method-assign, assignment]
    try:
        assert migrate(empty, settings) == []
    finally:
        del empty.command, empty.insert_rows


def test_reading_what_is_pending_writes_nothing(empty: Store, settings: Settings) -> None:
    found = read_schema(empty, known_migrations(settings))

    assert ([migration.name for migration in found.pending], found.newer, found.is_new) == (ALL, [], True)
    assert schema(empty) == "\n"


def test_a_database_that_is_missing_is_not_made_to_look_at_it(new_settings: Settings) -> None:
    """Embedded, the directory exists already: other databases are in it."""
    for _ in range(2):
        with pytest.raises(MigrationsPending, match=r"0001_events, .*, 0012_subjects; run `meterport migrate`"):
            open_store(new_settings, creates=False)


def test_every_migration_can_be_run_again(empty: Store, settings: Settings) -> None:
    migrate(empty, settings)
    before = schema(empty)
    empty.command("INSERT INTO meters (id, version) VALUES ('kept', 1)")

    for migration in known_migrations(settings):
        empty.command(migration.statement)

    assert schema(empty) == before
    assert empty.rows("SELECT id FROM meters") == [("kept",)]


def test_a_migration_that_was_edited_since_it_ran_is_refused(empty: Store, settings: Settings) -> None:
    migrate(empty, settings)
    empty.command(
        "INSERT INTO schema_migrations SELECT name, version + 1, 'another hash', needs, started_at, completed_at "
        "FROM schema_migrations FINAL WHERE name = '0002_event_keys'"
    )

    with pytest.raises(StoreMisconfigured) as refused:
        migrate(empty, settings)

    assert str(refused.value) == (
        "migration 0002_event_keys differs from the one that made this store: it was edited since, or an unreleased "
        "version made the store"
    )


def test_a_store_of_an_unreleased_version_is_refused(empty: Store, settings: Settings) -> None:
    migrate(empty, settings)
    empty.command("ALTER TABLE schema_migrations DROP COLUMN needs")

    with pytest.raises(StoreMisconfigured) as refused:
        migrate(empty, settings)

    assert str(refused.value) == ("table schema_migrations has no column needs: an unreleased version made the store")


def test_the_schema_is_the_one_written_down(empty: Store, settings: Settings) -> None:
    migrate(empty, settings)
    found = HEADER + schema(empty)
    if os.environ.get("METERPORT_TEST_RENEW") == "1":
        GOLDEN.write_text(found, encoding="utf-8")

    written = GOLDEN.read_text(encoding="utf-8")

    assert found == written, "the schema changed: if it should, run this test with METERPORT_TEST_RENEW=1 and commit"
