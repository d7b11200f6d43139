"""What a replay sends for a dead letter, and how many dead letters at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dead_letters.replay import (
    BATCH_BYTES,
    BATCH_LETTERS,
    KEYS_KEPT_AFTER_WINDOW,
    ChosenLetter,
    add_time,
    batches,
)
from engine.events.cloudevents import TimeSpan, decode_event
from engine.listings.log_position import LogPosition
from engine.store.migrations import _KEY_MARGIN
from tests.harness.strategies import data_texts

ARRIVED_MS = 1_742_472_000_500
CORE = '"id":"1","source":"s","type":"t","subject":"u","specversion":"1.0"'
ANY_TIME = TimeSpan(0, 10**12)


@pytest.mark.parametrize(
    ("event", "sent"),
    [
        ('{"id":"1"}', '{"id":"1","time":"2025-03-20T12:00:00.5Z"}'),
        ('{"time":null,"id":"1"}', '{"time":"2025-03-20T12:00:00.5Z","id":"1"}'),
        ('{ "data" : {"n": 1.10, "m":1E400 } }', '{"data":{"n": 1.10, "m":1E400 },"time":"2025-03-20T12:00:00.5Z"}'),
        ('{"time":null,"time":null}', '{"time":"2025-03-20T12:00:00.5Z"}'),
        ('{"x":"\\ud83d\\ude00"}', '{"x":"\\ud83d\\ude00","time":"2025-03-20T12:00:00.5Z"}'),
    ],
)
def test_an_event_without_a_time_is_given_one_and_keeps_every_other_character(event: str, sent: str) -> None:
    assert add_time(event.encode(), ARRIVED_MS).decode() == sent


@pytest.mark.parametrize(
    "event", ['{"time":"2025-01-01T00:00:00Z" , "id":"1"}', '{"time":5}', '{"time":null,"time":""}']
)
def test_an_event_with_a_time_is_sent_as_it_came(event: str) -> None:
    assert add_time(event.encode(), ARRIVED_MS) == event.encode()


@given(data=data_texts(), before=st.booleans())
def test_the_data_of_an_event_is_not_touched(data: str, before: bool) -> None:
    event = f'{{{CORE},"data":{data}}}' if before else f'{{"data":{data},{CORE}}}'

    sent = decode_event(add_time(event.encode(), ARRIVED_MS), ARRIVED_MS + 1, 0, 0, ANY_TIME)

    came = decode_event(event.encode(), ARRIVED_MS, 0, 0, ANY_TIME)
    assert (sent.data, sent.time_ms, sent.key) == (came.data, ARRIVED_MS, came.key)


def test_batches_hold_so_many_letters_and_bytes_at_most() -> None:
    def sizes(*lengths: int, most_bytes: int = BATCH_BYTES) -> list[int]:
        chosen = [ChosenLetter(LogPosition(0, 0, at), length) for at, length in enumerate(lengths)]
        grouped = list(batches(chosen, most_bytes))
        assert [position for batch in grouped for position in batch] == [letter.position for letter in chosen]
        return [len(batch) for batch in grouped]

    assert sizes() == []
    assert sizes(*[10] * (BATCH_LETTERS + 1)) == [BATCH_LETTERS, 1]
    assert sizes(400, 500, 100, 1, most_bytes=1000) == [3, 1]
    assert sizes(1, 5000, 1, most_bytes=1000) == [1, 1, 1]


def test_keys_are_kept_longer_than_the_duplicate_window_by_as_much_as_is_relied_on() -> None:
    assert KEYS_KEPT_AFTER_WINDOW == _KEY_MARGIN
