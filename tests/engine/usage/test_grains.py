"""Which grain answers which part of a range: for written-out examples, and for any range.

Contract 4.3.
"""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.usage.grains import Grain, split

SIZES: dict[Grain, int] = {"raw": 1, "minute": 60_000, "quarter": 900_000, "day": 86_400_000}


def ms(text: str) -> int:
    return round(datetime.fromisoformat(f"2025-01-{text}+00:00").timestamp() * 1000)


RAGGED = ("01T00:00:30.500", "03T10:20:40.000")
TABLE: dict[str, tuple[str, str, int, bool, list[tuple[str, str, str]]]] = {
    "whole days": ("01T00:00", "03T00:00", 86_400, True, [("day", "01T00:00", "03T00:00")]),
    "whole days in quarter hours, where windows begin at other times": (
        *("01T00:00", "03T00:00", 900, True),
        [("quarter", "01T00:00", "03T00:00")],
    ),
    "minutes": ("01T00:00", "03T00:00", 60, True, [("minute", "01T00:00", "03T00:00")]),
    "windows at odd seconds come from the events": ("01T00:00", "03T00:00", 1, True, [("raw", "01T00:00", "03T00:00")]),
    "seven pieces at most": (
        *RAGGED,
        *(86_400, True),
        [
            ("raw", "01T00:00:30.500", "01T00:01"),
            ("minute", "01T00:01", "01T00:15"),
            ("quarter", "01T00:15", "02T00:00"),
            ("day", "02T00:00", "03T00:00"),
            ("quarter", "03T00:00", "03T10:15"),
            ("minute", "03T10:15", "03T10:20"),
            ("raw", "03T10:20", "03T10:20:40.000"),
        ],
    ),
    "the same in quarter hours": (
        *RAGGED,
        *(900, True),
        [
            ("raw", "01T00:00:30.500", "01T00:01"),
            ("minute", "01T00:01", "01T00:15"),
            ("quarter", "01T00:15", "03T10:15"),
            ("minute", "03T10:15", "03T10:20"),
            ("raw", "03T10:20", "03T10:20:40.000"),
        ],
    ),
    "the same in minutes": (
        *RAGGED,
        *(60, True),
        [
            ("raw", "01T00:00:30.500", "01T00:01"),
            ("minute", "01T00:01", "03T10:20"),
            ("raw", "03T10:20", "03T10:20:40.000"),
        ],
    ),
    "not rolled up": (*RAGGED, 86_400, False, [("raw", *RAGGED)]),
    "whole days, not rolled up": ("01T00:00", "03T00:00", 86_400, False, [("raw", "01T00:00", "03T00:00")]),
    "within one minute": (
        *("01T00:00:00.001", "01T00:00:59.999", 86_400, True),
        [("raw", "01T00:00:00.001", "01T00:00:59.999")],
    ),
    "exactly one minute": ("01T00:07", "01T00:08", 86_400, True, [("minute", "01T00:07", "01T00:08")]),
    "two minutes with a quarter between": (
        *("01T00:14", "01T00:16", 86_400, True),
        [("minute", "01T00:14", "01T00:16")],
    ),
    "around midnight, no whole quarter": (
        *("01T23:59:59.999", "02T00:00:00.001", 86_400, True),
        [("raw", "01T23:59:59.999", "02T00:00:00.001")],
    ),
    "a millisecond past a day": (
        *("01T00:00", "02T00:00:00.001", 86_400, True),
        [("day", "01T00:00", "02T00:00"), ("raw", "02T00:00", "02T00:00:00.001")],
    ),
    "empty": ("01T00:00", "01T00:00", 86_400, True, []),
    "the wrong way round": ("02T00:00", "01T00:00", 86_400, True, []),
}


@pytest.mark.parametrize(("from_", "to", "step", "rolled_up", "expected"), TABLE.values(), ids=TABLE)
def test_pieces(from_: str, to: str, step: int, rolled_up: bool, expected: list[tuple[str, str, str]]) -> None:
    pieces = split(ms(from_), ms(to), step, rolled_up)

    assert [(piece.grain, piece.from_ms, piece.to_ms) for piece in pieces] == [
        (grain, ms(start), ms(end)) for grain, start, end in expected
    ]


_DAY = 86_400_000
BOUNDS = st.builds(
    lambda day, minute, odd: max(0, day * _DAY + minute * 60_000 + odd),
    st.integers(0, 47_000),
    st.sampled_from([0, 0, 1, 14, 15, 16, 1439]),
    st.sampled_from([0, 0, 1, -1, 500, 59_999]),
)


@given(
    bounds=st.tuples(BOUNDS, st.one_of(BOUNDS, st.integers(0, 3 * _DAY))),
    step=st.sampled_from([1, 60, 900, 86_400]),
    rolled_up=st.booleans(),
)
def test_pieces_tile_the_range_aligned_and_few(bounds: tuple[int, int], step: int, rolled_up: bool) -> None:
    from_ms, to_ms = sorted(bounds)

    pieces = split(from_ms, to_ms, step, rolled_up)

    edges = [from_ms, *(piece.to_ms for piece in pieces)]
    assert [piece.from_ms for piece in pieces] == edges[:-1]
    assert edges[-1] == (to_ms if pieces else from_ms)
    assert bool(pieces) == (from_ms < to_ms)
    assert len(pieces) <= 7
    assert all(piece.from_ms < piece.to_ms for piece in pieces)
    for piece in pieces:
        size = SIZES[piece.grain]
        assert (piece.from_ms % size, piece.to_ms % size) == (0, 0)
        assert step * 1000 % size == 0  # the grain is never coarser than the windows allow
        assert rolled_up or piece.grain == "raw"


@given(bounds=st.tuples(BOUNDS, BOUNDS), step=st.sampled_from([60, 900, 86_400]))
def test_nothing_is_read_raw_that_a_whole_minute_covers(bounds: tuple[int, int], step: int) -> None:
    from_ms, to_ms = sorted(bounds)

    raw = [piece for piece in split(from_ms, to_ms, step, True) if piece.grain == "raw"]

    if to_ms // 60_000 > -(-from_ms // 60_000):
        assert all(piece.to_ms - piece.from_ms < 60_000 for piece in raw)
