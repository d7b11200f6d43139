"""Dead letters are listed newest first, in pages, and filtered (contract 3.3)."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from engine.dead_letters import replay
from engine.instants import milliseconds
from engine.listings.log_position import LogPosition
from engine.store.clickhouse import Store
from tests.api.dead_letters.letters import EARLIER, NOW, URL, kafka_letter, stamp
from tests.harness.api_client import ApiClient

pytestmark = pytest.mark.thorough


def test_dead_letters_are_a_plain_array(client: ApiClient, refused: Callable[..., list[int]]) -> None:
    """Contract 3.3, D.13, D.22."""
    assert client.get(URL).json() == []

    refused(b"{}", b"[]")

    found = client.get(URL).json()
    assert [letter["reason"] for letter in found] == ["an event must be a JSON object", "id is missing"]
    assert "link" not in client.get(URL).headers
    assert {*found[0]} == {"arrivedAt", "storedAt", "partition", "offset", "reason", "value"}


def test_headers_are_listed_as_they_came(client: ApiClient, store: Store) -> None:
    kafka_letter(store, b'{"tokens":1}', [("ce_id", b"1"), ("ce_id", b"2"), ("trace", None)])

    (letter,) = client.get(URL).json()

    assert letter["headers"] == [["ce_id", "1"], ["ce_id", "2"], ["trace", None]]


def test_a_page_of_dead_letters_links_to_the_next_with_the_same_filter(client: ApiClient, store: Store) -> None:
    for offset in range(1, 7):
        kafka_letter(store, b"{}", reason="a & b" if offset % 2 else "c", offset=offset)

    first = client.get(f"{URL}?reason=a+%26&limit=2")
    second = client.get(first.links["next"]["url"])

    assert [letter["offset"] for letter in (*first.json(), *second.json())] == [5, 3, 1]
    assert "link" not in second.headers
    assert client.get(f"{URL}?before=nonsense").status_code == 400


def test_dead_letters_are_filtered(client: ApiClient, store: Store) -> None:
    kafka_letter(store, b"{}", reason="id is missing", offset=1)
    kafka_letter(store, b"{}", reason="source is missing", offset=2, arrived=EARLIER + timedelta(minutes=1))
    kafka_letter(store, b"[]", reason="time is too far in the future", offset=3, arrived=EARLIER + timedelta(minutes=2))
    replay.mark(store, [LogPosition(milliseconds(EARLIER), 4, 1)], milliseconds(NOW))

    def found(**parameters: str) -> list[int]:
        return [letter["offset"] for letter in client.get(URL, params=parameters).json()]

    assert found() == [3, 2, 1]
    assert found(reason="missing") == [2, 1]
    assert found(reason="Missing") == []
    assert found(partition="4", offset="2") == [2]
    assert found(partition="5") == []
    assert found(**{"from": stamp(EARLIER + timedelta(minutes=1))}) == [3, 2]
    assert found(to=stamp(EARLIER + timedelta(minutes=1))) == [1]
    assert found(replayed="false") == [3, 2]
    assert found(replayed="true") == [1]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("offset=-1", "offset"),
        ("partition=2147483648", "partition"),
        ("partition=first", "partition"),
        ("replayed=yes", "replayed"),
        ("from=yesterday", "from"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z", "from must be before to"),
        ("Reason=x", "Reason"),
    ],
)
def test_a_wrong_parameter_of_the_listing_is_named(still: ApiClient, query: str, named: str) -> None:
    """D.8."""
    answer = still.get(f"{URL}?{query}")

    assert answer.status_code == 400
    assert named in answer.json()["detail"]
