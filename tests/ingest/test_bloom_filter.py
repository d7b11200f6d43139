"""The filter of keys in memory: added keys are always found, and other keys almost never."""

import numpy as np
import pytest

from engine.events.event import Keys, event_key
from ingest.bloom_filter import BloomFilter, as_keys


def _keys(seed: int, count: int) -> Keys:
    return np.random.default_rng(seed).integers(0, 2**64, size=(count, 2), dtype=np.uint64)


def test_keys_are_read_from_their_bytes() -> None:
    keys = [event_key("s", str(number)) for number in range(3)]

    assert as_keys(keys).tobytes() == b"".join(keys)
    assert as_keys([b"".join(keys)]).tolist() == as_keys(keys).tolist()
    assert as_keys([]).shape == (0, 2)


@pytest.mark.parametrize("piece", [1_000, 131_072, 150_000, 700_000])
def test_no_key_is_ever_forgotten_however_the_filter_grew(piece: int) -> None:
    keys = _keys(1, 700_000)
    seen = BloomFilter()

    for start in range(0, len(keys), piece):
        assert not seen.contains(keys[start : start + piece]).all()
        seen.add(keys[start : start + piece])

    assert seen.count == 700_000
    assert seen.contains(keys).all()


@pytest.mark.parametrize("each", [50, 300, 700])
def test_a_filter_of_a_process_that_runs_for_long_has_room_for_the_keys_that_are_kept(
    each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.bloom_filter._FIRST_CAPACITY", 1024)
    now = 0.0
    seen = BloomFilter(10, lambda: now)
    pieces = [_keys(seed, each) for seed in range(300)]

    for at, piece in enumerate(pieces):
        now = float(at)
        seen.add(piece)
        assert seen.contains(np.concatenate(pieces[max(0, at - 9) : at + 1])).all()
        assert sum(layer.capacity for layer in seen._layers) <= max(4 * 10 * each, 2 * 1024)

    assert seen.count == 300 * each
    assert seen.contains(pieces[0]).sum() == 0


def test_a_key_is_found_alone_as_among_others() -> None:
    keys = _keys(2, 1_000)
    seen = BloomFilter()
    seen.add(keys[::2])

    together = seen.contains(keys)

    assert together[::2].all()
    assert [bool(seen.contains(keys[at : at + 1])[0]) for at in range(1_000)] == together.tolist()


def test_keys_that_were_never_added_are_hardly_ever_found() -> None:
    seen = BloomFilter()
    seen.add(_keys(3, 900_000))  # three layers full

    found = seen.contains(_keys(4, 1_000_000)).sum()

    assert found < 40  # 18 are expected


def test_nothing_is_found_in_an_empty_filter_and_nothing_may_be_asked() -> None:
    seen = BloomFilter()

    assert not seen.contains(_keys(6, 100)).any()
    assert seen.contains(_keys(6, 0)).tolist() == []
    seen.add(_keys(6, 0))
    assert seen.count == 0
