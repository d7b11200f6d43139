"""The coarsest step that divides every boundary of the windows of an answer.

Contract 4.4.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.instants import DAY_SECONDS, END
from engine.usage.windows import WindowSize, boundaries, largest_common_step
from tests.engine.usage.zones_and_seconds import INSTANTS, ODD_ZONES, second

STEPS = {
    "a total": (None, "Africa/Monrovia", "1971-01-01T00:00:00Z", "1971-02-01T00:00:00Z", 86_400),
    "minutes": (WindowSize.MINUTE, "Asia/Kolkata", "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z", 60),
    "hours": (WindowSize.HOUR, "America/New_York", "2025-01-01T00:00:00Z", "2025-12-01T00:00:00Z", 900),
    "hours at half past": (WindowSize.HOUR, "Asia/Kolkata", "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z", 900),
    "hours at odd seconds": (WindowSize.HOUR, "Africa/Monrovia", "1971-01-01T00:00:00Z", "1971-02-01T00:00:00Z", 1),
    "hours after odd seconds": (
        WindowSize.HOUR,
        "Africa/Monrovia",
        "1973-01-01T00:00:00Z",
        "1973-02-01T00:00:00Z",
        900,
    ),
    "half hours": (WindowSize.HOUR, "Australia/Lord_Howe", "2025-04-05T00:00:00Z", "2025-04-07T00:00:00Z", 900),
    "days of UTC": (WindowSize.DAY, "UTC", "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z", 86_400),
    "months of UTC": (WindowSize.MONTH, "UTC", "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z", 86_400),
    "days of a London winter": (
        WindowSize.DAY,
        "Europe/London",
        "2025-01-01T00:00:00Z",
        "2025-02-01T00:00:00Z",
        86_400,
    ),
    "days of a London summer": (WindowSize.DAY, "Europe/London", "2025-06-01T00:00:00Z", "2025-07-01T00:00:00Z", 900),
    "days of New York": (WindowSize.DAY, "America/New_York", "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z", 900),
    "months of Kathmandu": (WindowSize.MONTH, "Asia/Kathmandu", "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z", 900),
    "days at odd seconds": (WindowSize.DAY, "Africa/Monrovia", "1971-01-01T00:00:00Z", "1971-01-03T00:00:00Z", 1),
    "a day changed at a minute past": (
        WindowSize.DAY,
        "America/St_Johns",
        "2010-11-06T12:00:00Z",
        "2010-11-08T00:00:00Z",
        900,
    ),
}


@pytest.mark.parametrize(("size", "name", "first", "last", "step"), STEPS.values(), ids=STEPS)
def test_the_coarsest_step_that_divides_every_boundary(
    size: WindowSize | None, name: str, first: str, last: str, step: int
) -> None:
    assert largest_common_step(size, name, second(first), second(last)) == step


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(ODD_ZONES),
    size=st.sampled_from([WindowSize.DAY, WindowSize.MONTH]),
    first=INSTANTS,
    days=st.integers(0, 500),
)
def test_the_step_divides_every_boundary(name: str, size: WindowSize, first: int, days: int) -> None:
    last = min(first + days * DAY_SECONDS, END - 1)

    step = largest_common_step(size, name, first, last)

    assert {mark % step for mark in boundaries(size, name, first, last)} == {0}
