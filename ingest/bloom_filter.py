"""A Bloom filter of event keys in memory: "never seen" is certain, "perhaps seen" is wrong once in 170,000 look-ups.

Owns: Bloom filters over 128-bit keys, in layers of doubling size, so that no key is hashed again when the filter grows.
Each layer has its own false positives. With 32 bits per key, 33 million keys take 128 MiB. Looking up one key in vain
costs a hundred times what its four bytes cost. All operations work on arrays of keys.
When a new layer is begun, layers whose last key was added longer ago than keys are kept are dropped. The new layer is
larger only if other layers remain. So a process that runs for months has room for at most four times the keys of the
period for which keys are kept. The period is measured by the time that passes in this process, so setting the clock
makes the filter forget nothing.
The keys are hashes already: bit positions are derived from their two halves (Kirsch and Mitzenmacher, 2006).
"""

import math
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from engine.events.event import Keys

_BITS_PER_KEY = 32  # a power of two, like every capacity: a mask then gives a bit's position
_PROBES = 8
_FIRST_CAPACITY = 1 << 17


def as_keys(keys: list[bytes]) -> Keys:
    """Return 16-byte keys as an array of shape (n, 2)."""
    return np.frombuffer(b"".join(keys), dtype="<u8").reshape(-1, 2)


class _Layer:
    def __init__(self, capacity: int) -> None:
        self.capacity = self.remaining = capacity
        self.filled_time = math.inf  # monotonic seconds when the last key was added
        size = capacity * _BITS_PER_KEY
        self._mask = np.uint64(size - 1)
        self._words = np.zeros(size // 64, dtype=np.uint64)

    def add(self, keys: Keys) -> None:
        for probe in range(_PROBES):
            word, bit = self._bit_position(keys, probe)
            np.bitwise_or.at(self._words, word, bit)
        self.remaining -= len(keys)

    def contains(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Return for each key whether it may be in this layer.

        Each probe tests only the keys that all probes before it have found: at most a quarter of them.
        """
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
        """Add keys, shape (n, 2)."""
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
        """Return for each key whether it may have been added. False is certain."""
        found = np.zeros(len(keys), dtype=np.bool_)
        for layer in self._layers:
            found |= layer.contains(keys)
        return found
