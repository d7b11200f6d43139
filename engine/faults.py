"""Fault points: named places in the code at which a crash test can kill the process.

The setting `fault` (METERPORT_FAULT=point:n) arms one point. When the process reaches it for the n-th time it gets
SIGKILL: no handler runs and nothing is flushed. A point that is not armed costs one comparison.
"""

import os
import random
import signal
import subprocess
from typing import Literal, get_args

from engine.errors import ConfigurationError

Point = Literal[
    "schema.after-statement",
    "log.before-commit",
    "log.after-commit",
    "ingest.before-plan",
    "ingest.after-plan",
    "ingest.after-claim",
    "ingest.after-dead-letters",
    "ingest.in-insert",
    "ingest.after-insert",
    "ingest.after-acknowledge",
    "meter.after-registered",
    "meter.after-tables",
    "meter.after-views",
    "meter.after-delete",
    "fill.before-piece",
    "fill.after-piece",
    "fill.before-ready",
]
POINTS: tuple[Point, ...] = get_args(Point)


class _Armed:
    """The armed point, and how many times it will be reached until the process is killed."""

    point = ""
    remaining = 0


def arm(fault: str) -> None:
    """Arm the point of `point:n` (without `:n`: the first time); "" disarms. Raises: ConfigurationError."""
    point, _, times = fault.partition(":")
    if fault and (point not in POINTS or not (times or "1").isdigit()):
        raise ConfigurationError(f"fault: {fault!r} is not one of {', '.join(POINTS)}, optionally with :n after it")
    _Armed.point, _Armed.remaining = point, int(times or 1) if fault else 0


def hit(point: Point) -> None:
    """Report that the process has reached `point`. If the kill is due, the function does not return."""
    if _is_due(point):
        os.kill(os.getpid(), signal.SIGKILL)


def hit_within(point: Point, within_seconds: float) -> None:
    """Report that the process starts the work of `point`. A kill that is due comes at a random time in the interval.

    Another process kills this one: chDB blocks the interpreter until an insert is done, so a thread would be too late.
    """
    if _is_due(point):
        delay = random.uniform(0, within_seconds)  # noqa: S311 - not a secret
        subprocess.Popen(["/bin/sh", "-c", 'sleep "$0"; kill -9 "$1"', f"{delay:.3f}", str(os.getpid())])  # noqa: S603


def _is_due(point: Point) -> bool:
    if point != _Armed.point:
        return False
    _Armed.remaining -= 1
    return _Armed.remaining <= 0
