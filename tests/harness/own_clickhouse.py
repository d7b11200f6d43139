"""A ClickHouse that tests may kill and make misbehave. A module that imports the fixture `server` gets its own."""

import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.harness.clickhouse import ClickHouse


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    started = ClickHouse(tmp_path_factory.mktemp("clickhouse"))
    started.start()
    yield started
    started.kill()


@pytest.fixture
def http(server: ClickHouse) -> Iterator[httpx.Client]:
    """Yield a client of the server, which has no armed fault before and after. `t` is an empty table."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        run_sql(client, "CREATE OR REPLACE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
        yield client
        server.behave()


def run_sql(client: httpx.Client, statement: str | bytes, **fields: str) -> str:
    answer = client.post("/", content=statement, params=fields)
    assert answer.status_code == 200, answer.text
    return answer.text


def count_rows(client: httpx.Client) -> int:
    return int(run_sql(client, "SELECT count() FROM t"))


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
