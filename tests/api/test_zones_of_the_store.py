"""A store whose sessions are not in UTC gives the same answers as one in UTC."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from engine.store.clickhouse import Store
from tests.harness.api_client import ApiClient
from tests.harness.databases import Database

Meter = Callable[..., dict[str, Any]]
Send = Callable[..., None]


@pytest.fixture(params=["UTC", "Asia/Kolkata", "America/New_York"])
def zone(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(database: Database, zone: str) -> Iterator[Store]:
    """A store whose sessions use a time zone, as the settings profile of a ClickHouse user may define it."""

    def connect_in_zone() -> Client:
        client = database.store._connect()
        client.set_client_setting("session_timezone", zone)
        return client

    in_zone = Store(connect_in_zone, database.settings.store.handles, shared=False)
    assert in_zone.rows("SELECT timezone(), toString(toDateTime(0))")[0][0] == zone
    yield in_zone
    in_zone.close()


def test_usage_is_the_same_whatever_zone_a_session_is_in(client: ApiClient, meter: Meter, send: Send) -> None:
    """N34: daily windows, in UTC and in the time zone of the query, and bounds."""
    meter()
    data = {"model": "m", "type": "in"}
    send(
        ("a", "2026-03-07T23:59:59.999Z", {"tokens": 1, **data}),
        ("a", "2026-03-08T00:00:00Z", {"tokens": 10, **data}),
        ("a", "2026-03-08T06:59:59Z", {"tokens": 100, **data}),
        ("a", "2026-03-08T18:30:00+05:30", {"tokens": 1000, **data}),
    )

    def days(**more: str) -> list[tuple[str, float]]:
        parameters = {"windowSize": "DAY", **more}
        rows = client.get("/api/v1/meters/tokens_total/query", params=parameters).json()["data"]
        return [(row["windowStart"], row["value"]) for row in rows]

    assert days() == [("2026-03-07T00:00:00Z", 1), ("2026-03-08T00:00:00Z", 1110)]
    assert days(windowTimeZone="Asia/Kolkata") == [("2026-03-08T00:00:00+05:30", 1111)]
    assert days(windowTimeZone="America/New_York") == [
        ("2026-03-07T00:00:00-05:00", 11),
        ("2026-03-08T00:00:00-05:00", 1100),
    ]
    assert days(**{"from": "2026-03-08T00:00:00Z", "to": "2026-03-09T00:00:00Z"}) == [("2026-03-08T00:00:00Z", 1110)]
