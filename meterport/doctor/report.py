"""What a check of `meterport doctor` finds, and the order in which checks run.

Owns: one finding for each check. A check that needs another one is skipped if that one found a fault, or was skipped;
every other check runs.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from engine.errors import MeterportError


class Status(StrEnum):
    """`skipped`: the check could not run because of a fault that another check found."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: `message` has one line, and says what to do if that is necessary."""

    status: Status
    check: str
    message: str


class Warn(Exception):
    """Raised by a check: something should be changed, but a process works without it. The message says what."""


class Fault(Exception):
    """Raised by a check: a process would not work, or would lose or double usage. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `run` returns what is right. `needs`: names of earlier checks that must not have found a fault.

    `run` may also raise Warn, Fault, or a MeterportError, which counts as a fault.
    """

    name: str
    run: Callable[[], str]
    needs: tuple[str, ...] = ()


def findings(checks: Iterable[Check]) -> Iterator[Finding]:
    """Run the checks in order, and yield what each one finds as soon as it is known."""
    failed: set[str] = set()
    for check in checks:
        found = _found(check, failed)
        if found.status in {Status.FAULT, Status.SKIPPED}:
            failed.add(check.name)
        yield found


def _found(check: Check, failed: set[str]) -> Finding:
    for needed in check.needs:
        if needed in failed:
            return Finding(Status.SKIPPED, check.name, f"not checked, because `{needed}` failed or was skipped")
    try:
        return Finding(Status.OK, check.name, check.run())
    except Warn as warning:
        return Finding(Status.WARNING, check.name, str(warning))
    except (Fault, MeterportError) as fault:
        return Finding(Status.FAULT, check.name, str(fault))
