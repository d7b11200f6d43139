"""Whether a process can do its work: what it needs, since when something is away, and what still works without it.

Owns: `Pulse` (when something last worked), `Health` (what a process needs, and for which abilities) and `Readiness`
(the answer of /readyz). This module sends no requests. The code that uses a dependency records each success in a pulse,
and a probe runs only if there was no success for a while. So a request to /readyz costs nothing, and one slow answer
does not make the process unready.
Source: docs/operations.md "Probes".
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from engine.instants import Clock, utc_now

# A probe runs after a quarter of the time that makes the process unready, so that one lost answer is not an outage.
PROBE_SHARE = 4
# A failure that fades counts for this long after the last failed attempt: without traffic nothing would try again.
_FADE_SECONDS = 30


class Ability(StrEnum):
    """What a process does for its clients."""

    EVENTS = "events"  # It accepts events over HTTP.
    QUERIES = "queries"  # It answers usage queries, and manages meters and tokens.
    INGEST = "ingest"  # It stores the events of the event log.


class Pulse:
    """When something last worked, and since when it has failed. Thread-safe."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._last_success = monotonic()  # At the start it is assumed to work.
        self._failing_since: float | None = None
        self._last_failure = -math.inf
        self.message = ""  # About the last failure.

    def succeeded(self) -> None:
        """Record that it worked now."""
        self._last_success, self._failing_since = self._monotonic(), None

    def failed(self, message: str) -> None:
        """Record that an attempt failed now. Args: message: what went wrong."""
        self._last_failure, self.message = self._monotonic(), message
        if self._failing_since is None:
            self._failing_since = self._last_failure

    @property
    def silent_seconds(self) -> float:
        """Return the seconds since it last worked."""
        return self._monotonic() - self._last_success

    def failing_seconds(self, fades: bool = False) -> float:
        """Return for how many seconds every attempt has failed; 0 if the last attempt succeeded.

        Args: fades: the attempts are requests from clients. Some time after the last of them it is unknown whether the
            next one would fail, and the result is 0.
        """
        since, now = self._failing_since, self._monotonic()
        if since is None or (fades and now - self._last_failure > _FADE_SECONDS):
            return 0
        return now - since


class Trouble(NamedTuple):
    """A problem with something that the process needs, and for how many seconds it has lasted."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Away:
    """Something that is away. `since`: an RFC 3339 timestamp. `stops`: what the process cannot do without it."""

    name: str
    since: str
    seconds: int
    reason: str
    stops: Sequence[Ability]


@dataclass(frozen=True, slots=True)
class Readiness:
    """The readiness of a process.

    `away`: what it needs and does not have. `works`: what it can still do. `degraded`: problems that stop none of it.
    """

    away: Sequence[Away] = ()
    works: Sequence[Ability] = ()
    degraded: Sequence[str] = ()

    @property
    def reason(self) -> str:
        """Return a line for people that says what is away; "" if nothing is."""
        if not self.away:
            return ""
        works = ", ".join(self.works) or "nothing"
        return f"{'; '.join(f'{away.name}: {away.reason} (since {away.since})' for away in self.away)}; works: {works}"


Check = Callable[[], Trouble | None]


@dataclass(frozen=True, slots=True)
class _Need:
    name: str
    stops: tuple[Ability, ...]
    check: Check


class Health:
    """What one process needs.

    Args: abilities: what the process is for. limit_seconds: how long something must be away to make it unready.
    """

    def __init__(self, abilities: Iterable[Ability], limit_seconds: float, clock: Clock = utc_now) -> None:
        self.abilities = tuple(abilities)
        self._limit = limit_seconds
        self._clock = clock
        self._needs: list[_Need] = []
        self._degraded: list[Callable[[], Iterable[str]]] = []

    def needs(self, name: str, stops: Iterable[Ability], check: Check) -> None:
        """Add something that the process needs: its name, what stops without it, and the check whether it is away."""
        affected = tuple(ability for ability in stops if ability in self.abilities)
        self._needs.append(_Need(name, affected, check))

    def degraded_by(self, check: Callable[[], Iterable[str]]) -> None:
        """Add a check whose lines are reported, but do not make the process unready."""
        self._degraded.append(check)

    def silent(self, seconds: Callable[[], float], reason: Callable[[], str]) -> Check:
        """Return the check of something that must answer at least once within the limit.

        Args: seconds: the time since it last answered.
        """

        def check() -> Trouble | None:
            silent = seconds()
            return Trouble(reason(), silent) if silent >= self._limit else None

        return check

    def failing(self, pulse: Pulse, reason: str, fades: bool = False) -> Check:
        """Return the check of something whose attempts must not all fail for as long as the limit."""

        def check() -> Trouble | None:
            failing = pulse.failing_seconds(fades)
            return Trouble(f"{reason}: {pulse.message}", failing) if failing >= self._limit else None

        return check

    def readiness(self) -> Readiness:
        """Run all checks and return the readiness of the process."""
        found = [(need, trouble) for need in self._needs if (trouble := need.check()) is not None]
        stopped = {ability for need, _ in found for ability in need.stops}
        return Readiness(
            away=[self._away(need, trouble) for need, trouble in found],
            works=[ability for ability in self.abilities if ability not in stopped],
            degraded=[line for check in self._degraded for line in check()],
        )

    def without(self, name: str, reason: str, seconds: float = 0) -> Readiness:
        """Return the readiness of a process that does nothing without `name`, whatever its needs are.

        Args: seconds: for how long that has been the case.
        """
        return Readiness(away=[self._away(_Need(name, self.abilities, lambda: None), Trouble(reason, seconds))])

    def _away(self, need: _Need, trouble: Trouble) -> Away:
        since = self._clock() - timedelta(seconds=trouble.seconds)
        text = since.isoformat(timespec="seconds").replace("+00:00", "Z")
        return Away(need.name, text, int(trouble.seconds), trouble.reason, need.stops)
