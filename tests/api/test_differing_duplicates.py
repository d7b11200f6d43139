"""GET /api/v1/duplicates: events that were dropped although their content differs from the stored event.

Contract 3.8, D.31; case N27.
"""

import orjson
import pytest

from api.dependencies import Dependencies
from engine.config.settings import IngestSettings
from engine.events.bulk_decoder import decode_events
from engine.events.cloudevents import TimeSpan
from engine.instants import milliseconds, utc_now
from tests.api.conftest import event
from tests.harness.api_client import ApiClient

URL = "/api/v1/duplicates"


def keep(dependencies: Dependencies, *subjects: str, first_offset: int = 0) -> None:
    """Record duplicates as ingest does. Each arrives a second after the previous one."""
    now = milliseconds(utc_now()) - 100_000
    bodies = [
        orjson.dumps({**event(f"d{number}", subject, "2025-01-01T00:00:00Z", {"n": number}), "ext": "x"})
        for number, subject in enumerate(subjects)
    ]
    count = len(bodies)
    arrived = [now + 1000 * number for number in range(count)]
    offsets = range(first_offset, first_offset + count)
    found = decode_events(bodies, arrived, [0] * count, offsets, TimeSpan.of(IngestSettings()))
    dependencies.store.insert_block(
        "differing_duplicates", found.events.block(now + 200_000), f"differing-{first_offset}"
    )


def test_duplicates_are_listed_the_last_arrived_first(client: ApiClient, dependencies: Dependencies) -> None:
    """Contract 3.8."""
    keep(dependencies, "a", "b")

    answer = client.get(URL)

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    last, first = answer.json()
    assert last["event"] == {
        **event("d1", "b", "2025-01-01T00:00:00Z", {"n": 1}),
        "ext": "x",
    }
    assert (last["partition"], last["offset"], first["event"]["id"]) == (0, 1, "d0")
    assert last["ingestedAt"] < last["droppedAt"]


def test_one_that_was_kept_twice_is_listed_once(client: ApiClient, dependencies: Dependencies) -> None:
    """If a topic is read again from its beginning, the same records are dropped again."""
    keep(dependencies, "a")
    stored = "id, source, type, subject, time, data, extensions, arrived_at, log_partition, log_offset, key"
    dependencies.store.command(
        f"INSERT INTO differing_duplicates ({stored}, stored_at) SELECT {stored}, stored_at + 1"
        " FROM differing_duplicates"
    )

    assert len(client.get(URL).json()) == 1


def test_duplicates_are_filtered_and_paged(client: ApiClient, dependencies: Dependencies) -> None:
    keep(dependencies, "a", "b", "a", "b", "a")

    def ids(**parameters: str) -> list[str]:
        return [item["event"]["id"] for item in client.get(URL, params=parameters).json()]

    assert ids() == ["d4", "d3", "d2", "d1", "d0"]
    assert ids(subject="b") == ["d3", "d1"]
    assert ids(id="4") == ["d4"]
    arrived = [item["ingestedAt"] for item in client.get(URL).json()]
    assert ids(**{"from": arrived[1]}) == ["d4", "d3"]
    assert ids(to=arrived[1]) == ["d2", "d1", "d0"]
    page = client.get(URL, params={"limit": "2", "subject": "a"})
    assert [item["event"]["id"] for item in page.json()] == ["d4", "d2"]
    behind = client.get(page.links["next"]["url"])
    assert [item["event"]["id"] for item in behind.json()] == ["d0"]
    assert "link" not in behind.headers


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("limit=0", "limit"),
        ("before=x", "cursor"),
        ("from=yesterday", "from"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from"),
        ("Subject=a", "Subject"),
    ],
)
def test_a_wrong_parameter_is_named(still: ApiClient, query: str, named: str) -> None:
    """D.8."""
    answer = still.get(f"{URL}?{query}")

    assert answer.status_code == 400
    assert named in answer.json()["detail"]
