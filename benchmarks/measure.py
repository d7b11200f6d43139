"""Timing of alternatives in turn, and ratios of them.

Two things are compared only within one run: each round calls every alternative once, so that a slower machine in one
minute slows all of them. A ratio is computed for each round; its median and its quartiles are reported.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

WARM_UP_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measured value of the table of targets: its quartiles, and the most or the least that it should be.

    `unit`: "×" for a ratio, otherwise the unit of the value. `at_least` or `at_most` is the target, if there is one.
    """

    what: str
    low: float
    value: float
    high: float
    unit: str = "×"
    at_least: float | None = None
    at_most: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the target is met; "" if there is none."""
        if self.at_least is None and self.at_most is None:
            return ""
        missed = (self.at_least is not None and self.value < self.at_least) or (
            self.at_most is not None and self.value > self.at_most
        )
        return "missed" if missed else "met"

    @property
    def line(self) -> str:
        """The measurement as one line of text."""
        target = f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}" if self.at_most else ""
        shown = f"{self.value:.3g} {self.unit} ({self.low:.3g} to {self.high:.3g})"
        return f"{self.what}: {shown}" + (f"; target {target}: {self.verdict}" if target else "")


def in_turn(calls: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Call each alternative once in every round. Return the seconds that each call returned, by name."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(WARM_UP_ROUNDS + rounds):
        for name, call in calls.items():
            took = call()
            if number >= WARM_UP_ROUNDS:
                seconds[name].append(took)
    return seconds


def timed(call: Callable[[], object]) -> Callable[[], float]:
    """Return a function that runs a call and returns the seconds that it took."""

    def run() -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    return run


def ratio(
    what: str,
    above: Sequence[float],
    below: Sequence[float],
    at_least: float | None = None,
    at_most: float | None = None,
) -> Measurement:
    """Return the ratio of two alternatives that were called in turn."""
    rounds = [one / other for one, other in zip(above, below, strict=True)]
    return Measurement(what, *_quartiles(rounds), at_least=at_least, at_most=at_most)


def milliseconds(what: str, seconds: Sequence[float], at_most: float | None = None) -> Measurement:
    """Return the time of an alternative in milliseconds."""
    return Measurement(what, *_quartiles([each * 1000 for each in seconds]), unit="ms", at_most=at_most)


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return low, middle, high
