"""The databases of the tests: the next test finds nothing of what the last one has left."""

import pytest

from engine.config.settings import Settings
from engine.events.event import Event, event_block, event_key
from engine.meters.definition import parse_definition
from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import Store
from engine.tokens.portal_tokens import PortalTokens
from tests.harness.databases import Database, Databases

TABLES = "SELECT name, total_rows FROM system.tables WHERE database = currentDatabase() ORDER BY name"


@pytest.fixture
def database(new_settings: Settings) -> Database:
    return Database(new_settings)


def insert(store: Store) -> None:
    event = Event("e", "s", "call", "u", 0, b"{}", b"", 0, 0, 0, event_key("s", "e"))
    store.insert_block("events", event_block([event], 0), "a token")


def test_an_emptied_database_is_like_a_new_one(database: Database) -> None:
    """It has forgotten the deduplication tokens, too."""
    new = database.store.rows(TABLES)
    MeterRegistry(database.store).create(
        parse_definition({"slug": "calls", "eventType": "call", "aggregation": "COUNT"})
    )
    PortalTokens(database.store, ["a-key-for-these-tests"], database.settings.portal).create("u", None, None)
    insert(database.store)

    assert database.empty()

    assert database.store.rows(TABLES) == new
    insert(database.store)
    assert database.store.rows("SELECT count() FROM events") == [(1,)]
    database.close(drop=True)


def test_each_test_gets_a_store_of_its_own(database: Database) -> None:
    database.store.shared = True

    assert not database.store.shared
    database.close(drop=True)


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE event_keys_view SYNC",
        "RENAME TABLE subjects TO aside",
        "ALTER TABLE events MODIFY SETTING non_replicated_deduplication_window = 0",
        "ALTER TABLE meters ADD COLUMN more String",
    ],
)
def test_a_database_with_changed_tables_is_not_used_again(database: Database, change: str) -> None:
    databases = Databases()
    databases.give_back(database)
    taken = databases.take(lambda: pytest.fail("the database was not kept"))
    taken.store.command(change)

    databases.give_back(taken)

    with pytest.raises(LookupError, match="another is made"):
        databases.take(_another)


def _another() -> Settings:
    raise LookupError("another is made")
