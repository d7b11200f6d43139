"""Whether a process can do its work: what it needs, since when that is away, and what goes on without it.

Owns: `Pulse` (when something last worked), `Health` (what a process needs, and what each of these is needed for) and
`Readiness`, the answer of /readyz. Nothing here asks anybody: whatever is used notes that it answered, and a probe asks
only where nothing else did. So a request to /readyz costs nothing, and one slow answer changes nothing.
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

PROBE_SHARE = 4  # a probe asks after a quarter of the time that makes the process unready: one lost answer is no outage
_FADES_SECONDS = 30  # so long after its last failure an attempt may be made again: without traffic nobody would try


class Ability(StrEnum):
    """What a process does for others."""

    EVENTS = "events"  # it takes events over HTTP
    QUERIES = "queries"  # it answers questions about usage, and manages meters and tokens
    INGEST = "ingest"  # it stores what is in the event log


class Pulse:
    """When something last worked, and since when it has failed. Any thread may call it."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._answered_at = monotonic()  # the process starts with the benefit of the doubt
        self._failing_since: float | None = None
        self._failed_at = -math.inf
        self.words = ""  # of the last failure

    def succeeded(self) -> None:
        """Note that it works now."""
        self._answered_at, self._failing_since = self._monotonic(), None

    def failed(self, words: str) -> None:
        """Note that an attempt has failed."""
        self._failed_at, self.words = self._monotonic(), words
        if self._failing_since is None:
            self._failing_since = self._failed_at

    @property
    def silent_seconds(self) -> float:
        """Return how long ago it last worked."""
        return self._monotonic() - self._answered_at

    def failing_seconds(self, fades: bool = False) -> float:
        """Return for how long every attempt has failed, 0 if the last one did not.

        Args: fades: attempts come from outside; after a while without any, nobody can say whether they would fail.
        """
        since, now = self._failing_since, self._monotonic()
        if since is None or (fades and now - self._failed_at > _FADES_SECONDS):
            return 0
        return now - since


class Trouble(NamedTuple):
    """Something that a process needs is away, and has been for so long."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Away:
    """`since`: an RFC 3339 timestamp. `stops`: what the process cannot do meanwhile."""

    name: str
    since: str
    seconds: int
    reason: str
    stops: Sequence[Ability]


@dataclass(frozen=True, slots=True)
class Readiness:
    """`works`: what the process does nevertheless. `degraded`: what is wrong without stopping any of it."""

    away: Sequence[Away] = ()
    works: Sequence[Ability] = ()
    degraded: Sequence[str] = ()

    @property
    def reason(self) -> str:
        """Return one line for people, "" if nothing is away."""
        if not self.away:
            return ""
        works = ", ".join(self.works) or "nothing"
        return f"{'; '.join(f'{away.name}: {away.reason} (since {away.since})' for away in self.away)}; works: {works}"


Look = Callable[[], Trouble | None]


@dataclass(frozen=True, slots=True)
class _Need:
    name: str
    stops: tuple[Ability, ...]
    look: Look


class Health:
    """What one process needs. `abilities`: what it is there for."""

    def __init__(self, abilities: Iterable[Ability], limit_seconds: float, clock: Clock = utc_now) -> None:
        self.abilities = tuple(abilities)
        self._limit = limit_seconds
        self._clock = clock
        self._needs: list[_Need] = []
        self._degraded: list[Callable[[], Iterable[str]]] = []

    def needs(self, name: str, stops: Iterable[Ability], look: Look) -> None:
        """Say what is needed, what cannot be done without it, and how to see whether it is away."""
        ours = tuple(ability for ability in stops if ability in self.abilities)
        self._needs.append(_Need(name, ours, look))

    def degraded_by(self, look: Callable[[], Iterable[str]]) -> None:
        """Add something that is reported but takes no traffic away."""
        self._degraded.append(look)

    def silent(self, seconds: Callable[[], float], reason: Callable[[], str]) -> Look:
        """Return a look at something that has to answer at least once in the limit."""

        def look() -> Trouble | None:
            silent = seconds()
            return Trouble(reason(), silent) if silent >= self._limit else None

        return look

    def failing(self, pulse: Pulse, reason: str, fades: bool = False) -> Look:
        """Return a look at attempts that fail, each of them, for as long as the limit."""

        def look() -> Trouble | None:
            failing = pulse.failing_seconds(fades)
            return Trouble(f"{reason}: {pulse.words}", failing) if failing >= self._limit else None

        return look

    def readiness(self) -> Readiness:
        """Return how things are now."""
        found = [(need, trouble) for need in self._needs if (trouble := need.look()) is not None]
        stopped = {ability for need, _ in found for ability in need.stops}
        return Readiness(
            away=[self._away(need, trouble) for need, trouble in found],
            works=[ability for ability in self.abilities if ability not in stopped],
            degraded=[line for look in self._degraded for line in look()],
        )

    def ended(self, name: str, reason: str) -> Readiness:
        """Return the answer of a process that does nothing any more, whatever it needs."""
        return Readiness(away=[self._away(_Need(name, self.abilities, lambda: None), Trouble(reason, 0))])

    def _away(self, need: _Need, trouble: Trouble) -> Away:
        since = self._clock() - timedelta(seconds=trouble.seconds)
        text = since.isoformat(timespec="seconds").replace("+00:00", "Z")
        return Away(need.name, text, int(trouble.seconds), trouble.reason, need.stops)
