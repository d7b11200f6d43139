"""The split of a time range by grain: the coarsest grain that fits answers the body, finer grains answer the edges.

    from ──raw──minute──quarter──[ body ]──quarter──minute──raw── to

The bounds need no alignment. A range has at most seven segments, and in most cases one. Instants are Unix milliseconds,
and ranges are half-open.
Source: docs/design.md R17 (segments of a range).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from engine.instants import DAY_SECONDS

Grain = Literal["raw", "minute", "quarter", "day"]
_MILLISECONDS: dict[Grain, int] = {"raw": 1, "minute": 60_000, "quarter": 900_000, "day": DAY_SECONDS * 1000}
_GRAINS: tuple[Grain, ...] = ("raw", "minute", "quarter", "day")


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a range, and the grain that answers it."""

    grain: Grain
    from_ms: int
    to_ms: int


def split(from_ms: int, to_ms: int, step_seconds: int, rolled_up: bool) -> list[Segment]:
    """Split [from_ms, to_ms) into segments, in the order of time. An empty range has none.

    Args: step_seconds: a divisor of every window boundary in the range (`windows.largest_common_step`).
        rolled_up: whether the meter's rollup is complete; if it is not, raw events answer the whole range.
    """
    usable = [grain for grain in _GRAINS if step_seconds * 1000 % _MILLISECONDS[grain] == 0]
    return list(_split_by(from_ms, to_ms, tuple(usable) if rolled_up else ("raw",)))


def _split_by(from_ms: int, to_ms: int, grains: tuple[Grain, ...]) -> Iterator[Segment]:
    if from_ms >= to_ms:
        return
    *finer, grain = grains
    size = _MILLISECONDS[grain]
    first, last = -(-from_ms // size) * size, to_ms // size * size
    if first >= last:
        yield from _split_by(from_ms, to_ms, tuple(finer))
        return
    yield from _split_by(from_ms, first, tuple(finer))
    yield Segment(grain, first, last)
    yield from _split_by(last, to_ms, tuple(finer))
