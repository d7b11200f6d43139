"""The filter of known keys is filled from the store at the start, one range of keys after the other."""

from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest

from engine.events.event import event_key
from engine.instants import utc_now
from engine.store.clickhouse import Store
from ingest.bloom_filter import as_keys
from ingest.claims import BatchClaims
from ingest.duplicates import Duplicates, _key_ranges

EDGES = [bytes(16), b"\x00\x01" + bytes(14), b"\x7f" + b"\xff" * 15, b"\x80" + bytes(15), b"\xff" * 16]
KEYS = [*EDGES, *(event_key("s", str(number)) for number in range(50))]


@pytest.mark.parametrize("keys_per_range", [1, 2, 7, 55, 1000])
def test_every_key_is_in_one_of_the_ranges(store: Store, monkeypatch: pytest.MonkeyPatch, keys_per_range: int) -> None:
    monkeypatch.setattr("ingest.duplicates._KEYS_PER_RANGE", keys_per_range)
    rows = [(key, 0, offset, utc_now()) for offset, key in enumerate(KEYS)]
    store.insert_rows("event_keys", ["key", "log_partition", "log_offset", "stored_at"], rows)
    duplicates = Duplicates(store, BatchClaims(store, "log"), lambda: [], timedelta(days=35))

    assert duplicates.load() == len(KEYS)

    assert np.all(duplicates._filter.contains(as_keys(KEYS)))


def test_more_ranges_than_first_two_bytes_lose_no_key() -> None:
    ranges = list(_key_ranges(100_000))

    assert (ranges[0][0], ranges[-1][1]) == ("00" * 16, "ff" * 16)
    assert all(int(following, 16) == int(last, 16) + 1 for (_, last), (following, _) in pairwise(ranges))
