"""A ClickHouse that is killed again and again keeps what it answered, and inserts are neither lost nor doubled."""

import itertools
import random
import threading
import time
from pathlib import Path

import httpx
import pyarrow as pa

from engine.errors import StoreUnavailable
from engine.store.clickhouse import Store
from tests.harness.clickhouse import ClickHouse
from tests.harness.long_form import LONG
from tests.harness.own_clickhouse import run_sql
from tests.harness.store_over_http import (
    block_of_events,
    counting_meter,
    everywhere,
    open_over_http,
    stored_rows,
)


def test_what_was_answered_outlives_a_kill_and_the_address_stays(tmp_path: Path) -> None:
    own = ClickHouse(tmp_path)
    for round_ in range(3):
        own.start()
        with httpx.Client(base_url=own.url, timeout=30) as client:
            run_sql(client, "CREATE TABLE IF NOT EXISTS kept (a UInt64) ENGINE = MergeTree ORDER BY a")
            run_sql(client, f"INSERT INTO kept VALUES ({round_})")
            assert run_sql(client, "SELECT count() FROM kept") == f"{round_ + 1}\n"
            own.kill() if round_ else own.terminate()
        assert not own.running


def test_kills_in_the_middle_of_inserts_lose_and_double_nothing(tmp_path: Path) -> None:
    server = ClickHouse(tmp_path / "clickhouse")
    server.start()
    store = open_over_http(server, tmp_path)
    meter = counting_meter(store)
    inserters = [_Inserter(store, first) for first in range(3)]
    chance = random.Random(15)  # noqa: S311 - when to kill
    for inserter in inserters:
        inserter.start()
    kills = 15 if LONG else 4
    for _ in range(kills):
        time.sleep(chance.uniform(0.05, 0.4))
        server.kill()
        server.start()
    for inserter in inserters:
        inserter.stop.set()
        inserter.join(60)

    blocks = sum(inserter.inserted for inserter in inserters)
    try:
        assert stored_rows(store, meter) == everywhere(blocks * 100)
        assert store.rows("SELECT uniqExact(id) FROM events") == [(blocks * 100,)]
        assert sum(inserter.retries for inserter in inserters) >= kills
    finally:
        store.close()
        server.terminate()


class _Inserter(threading.Thread):
    """Inserts one block after another. Each is repeated with its token until it is accepted."""

    def __init__(self, store: Store, first: int) -> None:
        super().__init__(daemon=True)
        self._store = store
        self._numbers = itertools.count(first, 3)
        self.stop = threading.Event()
        self.inserted = self.retries = 0

    def run(self) -> None:
        while not self.stop.is_set():
            number = next(self._numbers)
            block = block_of_events(number)
            while not self._take(block, f"block {number}"):
                self.retries += 1
                time.sleep(0.02)
            self.inserted += 1

    def _take(self, block: pa.Table, token: str) -> bool:
        try:
            self._store.insert_block("events", block, token)
        except StoreUnavailable:
            return False
        return True
