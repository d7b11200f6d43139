"""The schema: migrations can be run again, and the tables that they create equal a golden dump."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config.settings import Settings
from engine.errors import StoreMisconfigured
from engine.store import sql
from engine.store.clickhouse import Store
from engine.store.migrations import _digest, _names, _record, _render, migrate
from engine.store.opening import open_store

pytestmark = pytest.mark.thorough

GOLDEN = Path(__file__).parents[2] / "schema.sql"
HEADER = (
    "-- The schema as all migrations leave it. Made by "
    "METERPORT_TEST_RENEW=1 pytest tests/engine/store/test_migrations.py\n"
)
ALL = [
    *("0001_events", "0002_event_keys", "0003_event_keys_view", "0004_event_claims", "0005_log_positions"),
    *("0006_dead_letters", "0007_dead_letter_replays", "0008_differing_duplicates"),
    *("0009_meters", "0010_portal_tokens", "0011_portal_invalidations", "0012_subjects"),
]


@pytest.fixture
def empty(settings: Settings) -> Iterator[Store]:
    opened = open_store(settings)
    yield opened
    opened.command(f"DROP DATABASE {settings.store.database} SYNC")
    opened.close()


def schema(store: Store) -> str:
    """Return the CREATE statement of each table and view by name, without the name of the database."""
    ((database,),) = store.rows("SELECT currentDatabase()")
    names = store.rows("SELECT name FROM system.tables WHERE database = currentDatabase() ORDER BY name")
    statements = [store.rows(f"SHOW CREATE TABLE {sql.identifier(name)}")[0][0] for (name,) in names]
    return "\n".join(f"\n{re.sub(rf'`?{database}`?[.]', '', text)};" for text in statements).lstrip() + "\n"


def completed(store: Store) -> list[str]:
    rows = store.rows("SELECT name FROM schema_migrations FINAL WHERE completed_at IS NOT NULL ORDER BY name")
    return [name for (name,) in rows]


def test_migrations_run_in_order_once(empty: Store, settings: Settings) -> None:
    first, second = migrate(empty, settings), migrate(empty, settings)

    assert first == ALL
    assert second == []
    assert completed(empty) == ALL


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [name.partition("_")[0] for name in _names()] == [f"{at + 1:04d}" for at in range(len(_names()))]


def test_every_migration_can_be_run_again(empty: Store, settings: Settings) -> None:
    migrate(empty, settings)
    before = schema(empty)
    empty.command("INSERT INTO meters (id, version) VALUES ('kept', 1)")

    for name in _names():
        empty.command(_render(name, settings))

    assert schema(empty) == before
    assert empty.rows("SELECT id FROM meters") == [("kept",)]


@pytest.mark.parametrize("had_run", [False, True], ids=["before its statement", "after its statement"])
@pytest.mark.parametrize("interrupted", ALL)
def test_a_migration_that_was_interrupted_is_repeated(
    empty: Store, settings: Settings, interrupted: str, had_run: bool
) -> None:
    empty.command(sql.statement("schema_migrations"))
    before = ALL[: ALL.index(interrupted)]
    for name in before:
        empty.command(_render(name, settings))
        _record(empty, {name: _digest(name)}, completed=False)
        _record(empty, {name: _digest(name)}, completed=True)
    _record(empty, {interrupted: _digest(interrupted)}, completed=False)
    if had_run:
        empty.command(_render(interrupted, settings))

    ran = migrate(empty, settings)

    assert ran == ALL[len(before) :]
    assert completed(empty) == ALL


@pytest.mark.parametrize("died_after", range(len(ALL) + 1))
def test_a_process_that_dies_while_it_makes_a_store_leaves_one_that_is_made_again(
    empty: Store, settings: Settings, died_after: int
) -> None:
    empty.command(sql.statement("schema_migrations"))
    for name in ALL[:died_after]:
        empty.command(_render(name, settings))

    assert migrate(empty, settings) == ALL
    assert completed(empty) == ALL
    assert HEADER + schema(empty) == GOLDEN.read_text(encoding="utf-8")


def test_a_migration_that_was_edited_since_it_ran_is_refused(empty: Store, settings: Settings) -> None:
    migrate(empty, settings)
    empty.command(
        "INSERT INTO schema_migrations SELECT name, version + 1, 'another hash', started_at, completed_at "
        "FROM schema_migrations FINAL WHERE name = '0002_event_keys'"
    )

    with pytest.raises(StoreMisconfigured) as refused:
        migrate(empty, settings)

    assert str(refused.value) == (
        "migration 0002_event_keys differs from the one that made this store: it was edited since, or an unreleased "
        "version made the store"
    )


def test_the_schema_is_the_one_written_down(empty: Store, settings: Settings) -> None:
    migrate(empty, settings)
    found = HEADER + schema(empty)
    if os.environ.get("METERPORT_TEST_RENEW") == "1":
        GOLDEN.write_text(found, encoding="utf-8")

    written = GOLDEN.read_text(encoding="utf-8")

    assert found == written, "the schema changed: if it should, run this test with METERPORT_TEST_RENEW=1 and commit"
