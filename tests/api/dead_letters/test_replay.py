"""A request chooses dead letters to replay, and the answer says which are events now (contract 3.3, D.25)."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from engine.instants import milliseconds, parse_instant
from engine.store.clickhouse import Store
from ingest.sqlite.log import SqliteLog
from tests.api.dead_letters.letters import (
    EARLIER,
    NOW,
    REPLAY,
    URL,
    ahead,
    ids,
    ingest,
    outcome,
    problems,
    replayed,
    stamp,
)
from tests.harness.api_client import ApiClient

pytestmark = pytest.mark.thorough


def test_a_letter_that_is_an_event_today_is_metered(
    client: ApiClient, log: SqliteLog, store: Store, refused: Callable[..., list[int]]
) -> None:
    """Contract 3.3."""
    refused(ahead("a"), ahead("b"))

    answer = replayed(client, all=True)
    ingest(log, store)

    assert answer == {"replayed": 2, "stillInvalid": 0, "problems": []}
    assert ids(store) == ["a", "b"]
    assert all(parse_instant(letter["replayedAt"]) for letter in client.get(URL).json())


def test_letters_whose_event_is_stored_already_are_told(
    client: ApiClient, log: SqliteLog, store: Store, refused: Callable[..., list[int]]
) -> None:
    """K1: they are marked as replayed and add no usage. So is the second of two dead letters with the same event."""
    log.append([ahead("stored")], milliseconds(NOW)).result()
    ingest(log, store)
    refused(ahead("stored"), ahead("twice"), ahead("twice"), ahead("new"))

    tried = replayed(client, all=True, dryRun=True)
    answer = replayed(client, all=True)
    ingest(log, store)

    assert answer == tried == {"replayed": 4, "alreadyStored": 2, "stillInvalid": 0, "problems": []}
    assert ids(store) == ["new", "stored", "twice"]


def test_a_letter_that_is_no_event_today_either_is_told_with_todays_reason_and_stays(
    client: ApiClient, log: SqliteLog, store: Store, refused: Callable[..., list[int]]
) -> None:
    far, _, good = refused(ahead("far", days=31), b"{}", ahead("good"))

    answer = replayed(client, all=True)
    ingest(log, store)

    assert outcome(answer) == (1, 2)
    assert answer["problems"] == [
        {"arrivedAt": arrived(EARLIER), "partition": log.partition, "offset": offset, "reason": reason}
        for offset, reason in ((far, "time is too far in the future"), (far + 1, "id is missing"))
    ]
    assert ids(store) == ["good"]
    assert [letter["offset"] for letter in client.get(URL).json() if "replayedAt" in letter] == [good]


def arrived(at: datetime) -> str:
    return parse_instant(stamp(at)).text


def test_letters_are_chosen_by_position(
    client: ApiClient, log: SqliteLog, store: Store, refused: Callable[..., list[int]]
) -> None:
    refused(ahead("a"), ahead("b"), ahead("c"))
    listed = client.get(URL).json()

    answer = replayed(client, positions=[listed[0], listed[2]])
    ingest(log, store)

    assert outcome(answer) == (2, 0)
    assert ids(store) == ["a", "c"]


def test_a_position_without_a_letter_to_replay_is_told(client: ApiClient, refused: Callable[..., list[int]]) -> None:
    refused(ahead("a"))
    (letter,) = client.get(URL).json()
    nowhere = {**letter, "offset": letter["offset"] + 1}

    first = replayed(client, positions=[letter, nowhere, letter])
    second = replayed(client, positions=[letter])

    missing = "dead letter not found or already replayed"
    assert outcome(first) == (1, 0)
    assert [(problem["offset"], problem["reason"]) for problem in problems(first)] == [(nowhere["offset"], missing)]
    assert outcome(second) == (0, 0)
    assert [(problem["offset"], problem["reason"]) for problem in problems(second)] == [(letter["offset"], missing)]


def test_letters_are_chosen_by_arrival_reason_and_place(
    client: ApiClient, log: SqliteLog, store: Store, refused: Callable[..., list[int]]
) -> None:
    refused(ahead("early"), arrived=EARLIER)
    second, _ = refused(ahead("late"), b"{}", arrived=EARLIER + timedelta(minutes=1))
    refused(ahead("latest"), arrived=EARLIER + timedelta(minutes=2))

    bounds = {"from": stamp(EARLIER + timedelta(minutes=1)), "to": stamp(EARLIER + timedelta(minutes=2))}
    assert outcome(replayed(client, **bounds, reason="source")) == (0, 0)
    assert outcome(replayed(client, **bounds, reason="future")) == (1, 0)
    ingest(log, store)
    assert ids(store) == ["late"]

    assert outcome(replayed(client, partition=log.partition, offset=second)) == (0, 0)  # it was already replayed
    assert outcome(replayed(client, partition=log.partition, offset=second - 1)) == (1, 0)
    ingest(log, store)
    assert ids(store) == ["early", "late"]


def test_a_try_tells_what_would_happen_and_changes_nothing(
    client: ApiClient, log: SqliteLog, refused: Callable[..., list[int]]
) -> None:
    refused(ahead("a"), b"{}")

    answer = replayed(client, all=True, dryRun=True)

    assert outcome(answer) == (1, 1)
    assert log.lag().records == 0
    assert outcome(replayed(client, all=True)) == (1, 1)


def test_a_replay_goes_on_where_another_stopped(
    client: ApiClient, log: SqliteLog, store: Store, refused: Callable[..., list[int]]
) -> None:
    refused(b"{}", ahead("a"), ahead("b"), b"{}", ahead("c"))

    first = replayed(client, all=True, limit=2)
    second = replayed(client, all=True, limit=2, after=first["next"])
    third = replayed(client, all=True, limit=2, after=second["next"])
    ingest(log, store)

    assert [(*outcome(answer), answer.get("remaining")) for answer in (first, second, third)] == [
        (1, 1, 3), (1, 1, 1), (1, 0, None),
    ]  # fmt: skip
    assert "next" not in third
    assert ids(store) == ["a", "b", "c"]


def test_no_more_than_a_hundred_problems_are_told_but_all_are_counted(
    client: ApiClient, refused: Callable[..., list[int]]
) -> None:
    refused(*[b"{}"] * 120)

    answer = replayed(client, all=True)

    assert outcome(answer) == (0, 120)
    assert len(problems(answer)) == 100


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "give exactly one of: positions; all; or filters (from, to, partition, offset, reason)"),
        ({"all": False}, "give exactly one of"),
        ({"all": True, "reason": "id"}, "give exactly one of"),
        ({"positions": []}, "positions"),
        ({"positions": [{"partition": 0, "offset": 1}]}, "positions.0.arrivedAt"),
        ({"positions": [{"partition": 0, "offset": -1, "arrivedAt": "2026-01-01T00:00:00Z"}]}, "positions.0.offset"),
        ({"positions": [{"partition": 0, "offset": 1, "arrivedAt": "2026-01-01T00:00:00Z"}], "limit": 1}, "limit"),
        ({"reason": ""}, "reason"),
        ({"from": "yesterday"}, "from: not an RFC 3339 timestamp"),
        ({"to": 1735689600}, "to: not an RFC 3339 timestamp"),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from must be before to"),
        ({"all": True, "reasn": "id"}, "reasn"),
        ({"all": "yes"}, "all"),
        ({"all": True, "dryRun": 1}, "dryRun"),
        ({"partition": "0"}, "partition"),
        ({"offset": 1.0}, "offset"),
        ({"all": True, "limit": "1"}, "limit"),
        ({"all": True, "limit": 10_001}, "limit"),
        ({"all": True, "after": "nonsense"}, "cursor is invalid"),
        ({"all": True, "DryRun": True}, 'did you mean "dryRun"?'),
    ],
)
def test_a_wrong_body_of_a_replay_is_named(still: ApiClient, body: dict[str, object], named: str) -> None:
    """D.8: a misspelt selection must not select all dead letters."""
    answer = still.post(REPLAY, json=body)

    assert answer.status_code == 400
    assert named in answer.json()["detail"]
