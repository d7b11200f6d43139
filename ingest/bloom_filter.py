"""A memory filter of event keys: says "never seen" for certain, "perhaps seen" one time in 170,000 for no reason.

Owns: Bloom filters over 128-bit keys, in layers that double, so that no key is hashed again when the filter grows; each
layer is wrong by itself. 32 bits a key: 33 million keys take 128 MiB. A key looked up for no reason costs a hundred
times what its four bytes do. All operations work on arrays of keys.
A layer whose last key came longer ago than keys are kept is let go when the next is begun, which is larger only if
others are left; so a process that runs for months has remaining for four times the keys of that time at most. Time is what
passed in this process: a clock that is set makes nothing forgotten.
Keys are hashes already; bit positions are taken from their two halves (Kirsch and Mitzenmacher, 2006).
"""

import math
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from engine.events.event import Keys

_BITS_PER_KEY = 32  # a power of two, as is every capacity: a bit's place is a mask away
_PROBES = 8
_FIRST_CAPACITY = 1 << 17


def as_keys(keys: list[bytes]) -> Keys:
    """Return 16-byte keys as an array of shape (n, 2)."""
    return np.frombuffer(b"".join(keys), dtype="<u8").reshape(-1, 2)


class _Layer:
    def __init__(self, capacity: int) -> None:
        self.capacity = self.remaining = capacity
        self.filled_time = math.inf  # monotonic seconds
        size = capacity * _BITS_PER_KEY
        self._mask = np.uint64(size - 1)
        self._words = np.zeros(size // 64, dtype=np.uint64)

    def add(self, keys: Keys) -> None:
        for probe in range(_PROBES):
            word, bit = self._bit_position(keys, probe)
            np.bitwise_or.at(self._words, word, bit)
        self.remaining -= len(keys)

    def contains(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Each probe is asked of those keys only that all before it have found: of a quarter of them at most."""
        length = len(keys)
        rows = np.arange(length)
        for probe in range(_PROBES):
            word, bit = self._bit_position(keys, probe)
            found = (self._words[word] & bit) != 0
            rows, keys = rows[found], keys[found]
        seen = np.zeros(length, dtype=np.bool_)
        seen[rows] = True
        return seen

    def _bit_position(self, keys: Keys, probe: int) -> tuple[Keys, Keys]:
        position = (keys[:, 0] + np.uint64(probe) * (keys[:, 1] | np.uint64(1))) & self._mask
        return position >> np.uint64(6), np.uint64(1) << (position & np.uint64(63))


class BloomFilter:
    """The keys that were added in the last `keep_seconds`, and perhaps a few more. Not thread-safe."""

    def __init__(self, keep_seconds: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        self._keep_seconds = keep_seconds
        self._clock = clock
        self._layers = [_Layer(_FIRST_CAPACITY)]
        self.count = 0

    def add(self, keys: Keys) -> None:
        """Remember keys."""
        self.count += len(keys)
        while len(keys):
            if self._layers[-1].remaining <= 0:
                self._begin_layer()
            remaining = self._layers[-1].remaining
            self._layers[-1].add(keys[:remaining])
            keys = keys[remaining:]

    def _begin_layer(self) -> None:
        now = self._clock()
        full = self._layers[-1]
        full.filled_time = now
        self._layers = [layer for layer in self._layers if now - layer.filled_time < self._keep_seconds]
        self._layers.append(_Layer(full.capacity * 2 if len(self._layers) > 1 else full.capacity))

    def contains(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Return for each key whether it may have been added; False is certain."""
        found = np.zeros(len(keys), dtype=np.bool_)
        for layer in self._layers:
            found |= layer.contains(keys)
        return found
