"""A store whose tables would not keep events once is refused at the start, and its errors carry ClickHouse's code."""

import threading

import pytest

from engine.errors import StoreError, StoreMisconfigured
from engine.store import sql
from engine.store.clickhouse import Store


def test_a_store_that_would_not_deduplicate_is_refused(store: Store) -> None:
    store.command("CREATE TABLE meter_x_00000000_minute (n Int64) ENGINE = MergeTree ORDER BY n")

    with pytest.raises(
        StoreMisconfigured, match="meter_x_00000000_minute does not keep a deduplication window"
    ) as said:
        store.check_tables()

    store.command(str(said.value).partition(": run ")[2])
    store.check_tables()  # what the message says to run is enough


def test_a_shared_store_whose_claims_have_no_order_is_refused(store: Store) -> None:
    store.command("DROP TABLE event_claims SYNC")
    store.command("CREATE TABLE event_claims (token String) ENGINE = ReplacingMergeTree ORDER BY token")
    store.check_tables()  # a single process needs no order

    store.shared = True
    with pytest.raises(StoreMisconfigured, match="table event_claims is a ReplacingMergeTree"):
        store.check_tables()


def test_a_table_that_is_dropped_while_they_are_checked_is_not_refused(store: Store) -> None:
    table = "CREATE TABLE {} (n Int64) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window=10000"
    checked = threading.Event()

    def make_and_drop(name: str) -> None:
        while not checked.is_set():
            store.command(table.format(name))
            store.command(f"DROP TABLE {name}")

    others = [threading.Thread(target=make_and_drop, args=[f"meter_{slug}_00000000_minute"]) for slug in "abc"]
    for other in others:
        other.start()
    try:
        for _ in range(200):
            store.check_tables()
    finally:
        checked.set()
        for other in others:
            other.join()


def test_errors_of_the_engine_carry_its_code(store: Store) -> None:
    with pytest.raises(StoreError) as caught:
        store.rows(f"SELECT 1 FROM {sql.identifier('nowhere')}")

    assert caught.value.clickhouse_code == 60
