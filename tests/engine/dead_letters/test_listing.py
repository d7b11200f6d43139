"""Listings of dead letters: newest first, with their bytes, in pages."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from engine.dead_letters.listing import list_dead_letters
from engine.instants import milliseconds
from engine.listings.log_position import LogPosition
from engine.store.clickhouse import Store
from tests.engine.events.listed_events import NOON

pytestmark = pytest.mark.thorough


def put_dead_letters(store: Store, letters: Sequence[tuple[datetime, int, int, str, bytes]]) -> None:
    rows = [
        [at, at + timedelta(seconds=1), partition, offset, reason, value]
        for at, partition, offset, reason, value in letters
    ]
    columns = ["arrived_at", "stored_at", "log_partition", "log_offset", "reason", "value"]
    store.insert_rows("dead_letters", columns, rows)


def test_dead_letters_come_newest_first_with_their_bytes(store: Store) -> None:
    put_dead_letters(
        store,
        [
            (NOON, 0, 7, "not JSON: line 1", b'{"id":\n "\xc3\xbc'),
            (NOON + timedelta(milliseconds=250), 3, 1, "not UTF-8: invalid start byte at byte 0", b"\xff\x00\xfe"),
            (NOON, 0, 8, "id is missing", b"{}"),
        ],
    )

    assert list_dead_letters(store, 100) == [
        {
            "arrivedAt": "2025-03-20T12:00:00.25Z",
            "storedAt": "2025-03-20T12:00:01.25Z",
            "partition": 3,
            "offset": 1,
            "reason": "not UTF-8: invalid start byte at byte 0",
            "value": "/wD+",
            "valueEncoding": "base64",
        },
        {
            "arrivedAt": "2025-03-20T12:00:00Z",
            "storedAt": "2025-03-20T12:00:01Z",
            "partition": 0,
            "offset": 8,
            "reason": "id is missing",
            "value": "{}",
        },
        {
            "arrivedAt": "2025-03-20T12:00:00Z",
            "storedAt": "2025-03-20T12:00:01Z",
            "partition": 0,
            "offset": 7,
            "reason": "not JSON: line 1",
            "value": '{"id":\n "ü',
        },
    ]


def test_dead_letters_of_one_instant_are_paged_by_their_position(store: Store) -> None:
    put_dead_letters(store, [(NOON, 0, offset, "id is missing", b"{}") for offset in range(5)])
    noon_ms = milliseconds(NOON)

    assert [letter["offset"] for letter in list_dead_letters(store, 2)] == [4, 3]
    assert [letter["offset"] for letter in list_dead_letters(store, 2, LogPosition(noon_ms, 0, 3))] == [2, 1]
    assert [letter["offset"] for letter in list_dead_letters(store, 2, LogPosition(noon_ms, 0, 0))] == []
    assert [letter["offset"] for letter in list_dead_letters(store, 9, LogPosition(noon_ms + 1, 0, 0))] == [
        4,
        3,
        2,
        1,
        0,
    ]
