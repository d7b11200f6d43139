"""The key of an event, and many events as columns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events.event import Event, EventBatch, event_block, event_key

# Stores contain these keys. With another hash every event that is sent again would count twice.
KEYS = {
    ("s", "1"): "4f3a060f5ee09b66ecc4228ea75eee2b",
    ("a-b", "c"): "0154fa6dad47a458ed422673223cd56f",
    ("a", "b-c"): "91d03a97fc28234c86c7f355cbadfab4",
    ("ü", "😀"): "4e93c1eade176200aa59523412d2981b",
    ("x" * 3000, "y"): "dbd89695f05db458d585a5d4c8a6ada2",
}


@pytest.mark.parametrize(("source", "id_", "key"), [(*pair, key) for pair, key in KEYS.items()])
def test_a_key_is_what_it_has_always_been(source: str, id_: str, key: str) -> None:
    for _ in range(2):
        assert event_key(source, id_).hex() == key


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)


@given(one=st.tuples(_TEXTS, _TEXTS), other=st.tuples(_TEXTS, _TEXTS))
def test_only_the_same_source_and_id_have_the_same_key(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (event_key(*one) == event_key(*other)) == (one == other)


def _events(count: int) -> list[Event]:
    return [
        Event(
            str(at),
            "s",
            "t",
            f"u{at}",
            1000 + at,
            b'{"v":%d}' % at,
            b"",
            2000 + at,
            3,
            40 + at,
            event_key("s", str(at)),
        )
        for at in range(count)
    ]


def _batch(events: list[Event]) -> EventBatch:
    return EventBatch.of(*zip(*events, strict=True))


def _places(batch: EventBatch) -> list[tuple[bytes, int, int]]:
    """Return the positions of the events, after checking that all views of the batch agree with them."""
    places = list(batch.keys_with_positions())
    assert batch.keys.tobytes() == b"".join(key for key, *_ in places)
    assert batch.times_ms.tolist() == [1000 - 40 + offset for *_, offset in places]
    assert len(batch) == len(places)
    return places


def test_a_batch_is_cut_filtered_and_picked_from() -> None:
    events = _events(6)
    places = [(event.key, event.partition, event.offset) for event in events]
    batch = _batch(events)
    odd = np.array([False, True] * 3)

    assert _places(batch) == places
    assert _places(batch.first(4)) == places[:4]
    assert _places(batch.first(0)) == []
    assert _places(batch.where(odd)) == places[1::2]
    assert _places(batch.where(odd).first(2)) == places[1:4:2]
    assert _places(batch.first(4).where(odd[:4])) == places[1:4:2]
    assert _places(batch.where(np.ones(6, np.bool_))) == places
    assert _places(batch.where(np.zeros(6, np.bool_))) == []
    assert _places(EventBatch(batch.columns.slice(2))) == places[2:]
    assert _places(batch.take(np.array([4, 0]))) == [places[4], places[0]]
    assert _places(batch.first(5).where(np.array([False, *[True] * 4])).take(np.array([0]))) == places[1:2]


def test_a_block_is_the_events_and_their_stamp() -> None:
    events = _events(3)

    block = event_block(events, 5000)

    assert block.equals(_batch(events).block(5000))
    assert block.num_rows == 3
    assert block.column("data").to_pylist() == ['{"v":0}', '{"v":1}', '{"v":2}']
    assert block.column("stored_at").cast("int64").to_pylist() == [5000] * 3
    assert block.column("key").to_pylist() == [event.key for event in events]
