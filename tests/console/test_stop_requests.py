"""A signal ends a process whatever the main thread is doing at that moment."""

import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from meterport.stop_requests import FAILURE, StopRequests

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Restore the handlers of this process."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


def call_with_signal(step: int, call: Callable[[], object]) -> tuple[object, bool]:
    """Call a function, and raise SIGTERM before its line number `step`, those of all that it calls included.

    Returns: the result, and whether there was such a line.
    """
    lines = 0

    def trace(_frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if event == "line":
            lines += 1
            if lines == step:
                signal.raise_signal(signal.SIGTERM)
        return trace

    earlier = sys.gettrace()
    sys.settrace(trace)
    try:
        result = call()
    finally:
        sys.settrace(earlier)
    return result, lines >= step


def test_a_signal_before_any_line_of_the_wait_ends_it() -> None:
    """With an event in its place, the handler waited for the lock that the interrupted wait had taken."""
    for step in range(1, 200):
        requests = StopRequests()
        requests.listen()

        reason, was_raised = call_with_signal(step, lambda requests=requests: requests.wait(0.2))  # type: ignore[misc]

        if was_raised and reason is None:  # the wait was over already: the next one knows it
            reason = requests.wait(0.2)
        assert reason == ("SIGTERM" if was_raised else None)
        if not was_raised:
            return
    raise AssertionError("the wait has more lines than expected")


def test_no_reason_is_lost_and_each_is_given_once() -> None:
    requests = StopRequests()
    requests.listen()
    signal.raise_signal(signal.SIGTERM)
    requests.fail()
    signal.raise_signal(signal.SIGINT)

    assert [requests.wait(0.01) for _ in range(4)] == ["SIGTERM", FAILURE, "SIGINT", None]
