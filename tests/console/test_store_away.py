"""A service whose ClickHouse is away at the start: it is alive, says what it waits for, and goes on by itself.

What does not mend itself ends it at once, with one line that says what to do.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engine.store.migrations import migrate
from engine.store.opening import open_store
from tests.harness.clickhouse import ClickHouse, server_settings
from tests.harness.command import meterport
from tests.harness.server import Server
from tests.harness.topics import wait_for

EVENT = {"specversion": "1.0", "id": "1", "source": "tests", "type": "call", "subject": "acme"}


@pytest.fixture
def clickhouse(tmp_path: Path) -> Iterator[ClickHouse]:
    """Yield a ClickHouse that does not run."""
    stopped = ClickHouse(tmp_path / "clickhouse")
    yield stopped
    stopped.kill()


def _variables(clickhouse: ClickHouse) -> dict[str, str]:
    return {
        "METERPORT_STORE__URL": clickhouse.url,
        "METERPORT_PORTAL__TOKEN_KEYS": '["0123456789abcdef0123"]',
        "METERPORT_SERVER__TELEMETRY_PORT": "0",
        "METERPORT_METERS": '[{"slug": "calls", "eventType": "call", "aggregation": "COUNT"}]',
    }


def test_it_is_alive_and_not_ready_until_the_store_is_there(clickhouse: ClickHouse, tmp_path: Path) -> None:
    with Server(tmp_path, variables=_variables(clickhouse)) as service:
        service.launch()
        url, telemetry = service.listening("starting-api"), service.listening("starting-telemetry")
        assert url and telemetry
        for port in (url, telemetry):
            assert httpx.get(f"{port}/livez").json() == {"status": "ok"}
            refused = httpx.get(f"{port}/readyz")
            assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (
                503,
                "not-ready",
                "1",
            )
            [away] = refused.json()["extensions"]["away"]
            assert (away["name"], away["stops"]) == ("store", ["events", "queries", "ingest"])
        assert "meterport_ready 0.0" in httpx.get(f"{telemetry}/metrics").text
        for path in ("/api/v1/events", "/api/v1/portal/meters/calls/query", "/metrics", "/nothing"):
            refused = httpx.request(
                "POST" if path.endswith("events") else "GET",
                f"{url}{path}",
                json=EVENT if path.endswith("events") else None,
            )
            assert (refused.status_code, refused.json()["code"]) == (503, "not-ready"), path
            assert "this process is starting; store: the store does not answer" in refused.json()["detail"]
        assert clickhouse.url not in refused.text
        # A page of another site reads the answer, and says that usage is not available at the moment.
        portal = f"{url}/api/v1/portal/meters"
        from_page = {"Origin": "https://shop.example", "Access-Control-Request-Method": "GET"}
        assert httpx.options(portal, headers=from_page).headers["Access-Control-Allow-Origin"] == "*"
        assert httpx.get(portal, headers=from_page).headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Origin" not in httpx.get(f"{url}/api/v1/meters", headers=from_page).headers

        clickhouse.start()

        wait_for(lambda: httpx.get(f"{telemetry}/readyz").is_success, service.tail)
        assert service.listening("api") == url  # the same port, although any free one was asked for
        media = {"Content-Type": "application/cloudevents+json"}
        assert httpx.post(f"{url}/api/v1/events", json=EVENT, headers=media).status_code == 204
        usage = f"{url}/api/v1/meters/calls/query"
        wait_for(lambda: [row["value"] for row in httpx.get(usage).json()["data"]] == [1], service.tail)
        assert service.terminate() == 0


def test_a_signal_ends_it_while_it_waits(clickhouse: ClickHouse, tmp_path: Path) -> None:
    with Server(tmp_path, variables=_variables(clickhouse)) as service:
        service.launch()
        assert service.listening("starting-api")

        assert service.terminate() == 0
        assert "Traceback" not in service.tail()


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (516, "store.username, store.password: ClickHouse does not accept this user with this password: "),
        (497, "store.username: this user lacks a right on ClickHouse: "),
    ],
)
def test_what_does_not_mend_itself_ends_it(clickhouse: ClickHouse, tmp_path: Path, code: int, line: str) -> None:
    clickhouse.start()
    clickhouse.misbehave("error", code=code)

    ended = meterport("serve", "--port", "0", data_dir=tmp_path / "data", variables=_variables(clickhouse))

    assert ended.returncode == 78
    assert ended.stderr.splitlines()[-1].startswith(f"meterport: {line}")
    assert "Traceback" not in ended.stderr


def test_a_right_that_it_needs_after_the_migrations_ends_it_too(clickhouse: ClickHouse, tmp_path: Path) -> None:
    """Here the right to drop the rollup of a meter that a process which died has left."""
    clickhouse.start()
    settings = server_settings(clickhouse.url, tmp_path, database="meterport")
    store = open_store(settings)
    migrate(store, settings)
    store.command(
        "CREATE TABLE meter_left_0123abcd_minute (window DateTime) ENGINE = MergeTree ORDER BY window "
        "SETTINGS non_replicated_deduplication_window = 10000"
    )
    store.close()
    clickhouse.restrict("GRANT SELECT, INSERT, CREATE DATABASE, CREATE TABLE ON meterport.*")

    ended = meterport("serve", "--port", "0", data_dir=tmp_path / "data", variables=_variables(clickhouse))

    assert ended.returncode == 78
    line = ended.stderr.splitlines()[-1]
    assert line.startswith("meterport: store.username: this user lacks a right on ClickHouse: ")
    assert "DROP TABLE" in line
