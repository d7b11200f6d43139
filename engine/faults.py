"""Named points at which a crash test can have the process killed from outside.

The setting `fault` (METERPORT_FAULT=point:n) arms one: the n-th time it is passed the process gets SIGKILL, as a
power cut would do it: nothing is flushed, no handler runs. Unarmed, a point costs one comparison.
"""

import os
import random
import signal
import subprocess
from typing import Literal, get_args

from engine.errors import ConfigurationError

Point = Literal[
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
    point = ""
    left = 0


def arm(fault: str) -> None:
    """Arm `point:n`; an empty text disarms. Raises: ConfigurationError."""
    point, _, times = fault.partition(":")
    if fault and (point not in POINTS or not (times or "1").isdigit()):
        raise ConfigurationError(f"fault: {fault!r} is not one of {', '.join(POINTS)}, with :n behind it")
    _Armed.point, _Armed.left = point, int(times or 1) if fault else 0


def passing(point: Point) -> None:
    """Say that the process is at `point`; does not return if it is armed and its time has come."""
    if _is_due(point):
        os.kill(os.getpid(), signal.SIGKILL)


def entering(point: Point, within_seconds: float) -> None:
    """Say that the process begins what `point` names; if it is armed the kill comes at random in the given time.

    Another process kills this one: chDB holds the interpreter until an insert is done, so a thread would come too late.
    """
    if _is_due(point):
        delay = random.uniform(0, within_seconds)  # noqa: S311 - not a secret
        subprocess.Popen(["/bin/sh", "-c", 'sleep "$0"; kill -9 "$1"', f"{delay:.3f}", str(os.getpid())])  # noqa: S603


def _is_due(point: Point) -> bool:
    if point != _Armed.point:
        return False
    _Armed.left -= 1
    return _Armed.left <= 0
