"""The open connections of one port: how many there may be, what each waits for, and for how long it may.

    NEW ─▶ HEAD ─▶ BODY ─▶ ANSWERING ─▶ IDLE ─▶ HEAD …

    DRAINING: answered before its body was there; the rest of it is read     REFUSED: answered by the server itself
    TURNED_AWAY: there was no place for it                                   CLOSING: its client has not read all yet

Owns: the phases, a deadline for each in which the server waits for its client, and whom a newcomer takes the place of
when all places are taken. A look around every quarter of a second keeps the deadlines: a request costs no timer.

Time is counted in these rounds. While the process does not get to its connections (the store may hold the interpreter
for seconds) what clients have sent waits unread: that time is not theirs, and it does not count.
One event loop calls it; another port has a table of its own, so that one that is full says nothing of the other.
Source: docs/contract.md "Connections".
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from api.refusals import note
from engine.metrics import CONNECTIONS, CONNECTIONS_MOST
from engine.settings import ServerSettings

ROUND_SECONDS = 0.25
TURNED_AWAY_MOST = 32  # connections over the number that are still read from, so that their 503 arrives
_SETTLED_SECONDS = 1.0  # what waits longer for its client may have to make room; an honest client is faster
_READING_SECONDS = 5.0  # what its client has read nothing of for longer may have to make room
# In a flood so many of the connections that came last, that began a head last, and whose clients stopped to read last,
# keep their places: these, or a quarter of all.
_NEWEST = 64


class Phase(IntEnum):
    """What a connection waits for."""

    NEW = 0
    HEAD = 1
    BODY = 2
    ANSWERING = 3
    IDLE = 4
    DRAINING = 5
    REFUSED = 6
    TURNED_AWAY = 7
    CLOSING = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of everything one connection may have, and how many connections there may be."""

    connections: int
    head_bytes: int
    fields: int
    url_bytes: int
    first_byte_seconds: float
    head_seconds: float
    body_seconds: float
    answer_seconds: float
    keep_alive_seconds: float
    drained_bytes: int

    @classmethod
    def of(cls, settings: ServerSettings, connections: int) -> "Limits":
        """Return the limits that settings name. Args: connections: how many there may be."""
        return cls(
            connections=connections,
            head_bytes=settings.head_limit_bytes,
            fields=settings.max_header_fields,
            url_bytes=settings.url_limit_bytes,
            first_byte_seconds=settings.first_byte_seconds,
            head_seconds=settings.head_seconds,
            body_seconds=settings.body_seconds,
            answer_seconds=settings.answer_seconds,
            keep_alive_seconds=settings.keep_alive_seconds,
            # Proxies often let bodies of up to 100 MB pass; to drop that takes 0.1 s of CPU.
            drained_bytes=max(128 << 20, 8 * settings.body_limit_bytes),
        )


class Connection(Protocol):
    """What the table asks of a connection."""

    phase: Phase
    since: float

    def check(self, now: float) -> None:
        """End the connection if its deadline is over. Args: now: seconds of the table's clock."""

    def check_writing(self, now: float) -> None:
        """End the connection if its client reads nothing."""

    def give_way(self) -> None:
        """End the connection at once, without an answer."""


class Connections:
    """The table. `enter` is called twice or three times a request; all else once a connection, or once a round."""

    def __init__(self, limits: Limits, port: str) -> None:
        """Args: port: what metrics call it."""
        self.limits = limits
        self._phases: tuple[dict[Connection, None], ...] = tuple({} for _ in Phase)
        self._blocked: dict[Connection, float] = {}  # since when a client reads more slowly than it is sent to
        self._open = 0
        self._gauge = CONNECTIONS.labels(port)
        self._clock = 0.0
        self._timer: asyncio.TimerHandle | None = None
        CONNECTIONS_MOST.labels(port).set(limits.connections)

    def __len__(self) -> int:
        return self._open

    def admit(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> bool:
        """Take a connection in; returns whether there is a place for it. One that has none is TURNED_AWAY."""
        if self._timer is None:
            self._timer = loop.call_later(ROUND_SECONDS, self._look_around, loop)
        there_is_room = self._open < self.limits.connections or self._make_room()
        self._gauge.inc()
        if not there_is_room:
            self._enter_first(connection, Phase.TURNED_AWAY)
            return False
        self._open += 1
        self._enter_first(connection, Phase.NEW)
        return True

    def enter(self, connection: Connection, phase: Phase) -> None:
        """Note that a connection of this table is in another phase from now on."""
        phases = self._phases
        if phases[connection.phase].pop(connection, self) is not self:  # it has not left
            phases[phase][connection] = None
            connection.phase = phase
            connection.since = self._clock

    def leave(self, connection: Connection) -> None:
        """Note that a connection is closed, or will be with the next turn of the event loop."""
        if self._phases[connection.phase].pop(connection, self) is self:
            return
        self._gauge.dec()
        self._blocked.pop(connection, None)
        if connection.phase is not Phase.TURNED_AWAY:
            self._open -= 1

    def block(self, connection: Connection) -> None:
        """Note that a client reads more slowly than it is sent to."""
        self._blocked[connection] = self._clock

    def unblock(self, connection: Connection) -> None:
        self._blocked.pop(connection, None)

    def _enter_first(self, connection: Connection, phase: Phase) -> None:
        if phase is Phase.TURNED_AWAY and len(self._phases[phase]) >= TURNED_AWAY_MOST:
            self._evict(next(iter(self._phases[phase])))
        self._phases[phase][connection] = None
        connection.phase, connection.since = phase, self._clock

    def _make_room(self) -> bool:
        """End the connection that has waited longest for its client. Each table is in the order of time."""
        limits, now = self.limits, self._clock
        for phase, patience in (
            (Phase.CLOSING, _SETTLED_SECONDS),
            (Phase.REFUSED, _SETTLED_SECONDS),
            (Phase.NEW, _SETTLED_SECONDS),
            (Phase.HEAD, _SETTLED_SECONDS),
            (Phase.DRAINING, _SETTLED_SECONDS),
            (Phase.IDLE, _SETTLED_SECONDS),
            (Phase.BODY, limits.body_seconds),
        ):
            oldest = next(iter(self._phases[phase]), None)
            if oldest is not None and now - oldest.since >= patience:
                self._evict(oldest)
                return True
        blocked = next(iter(self._blocked.items()), None)
        if blocked and now - blocked[1] >= min(_READING_SECONDS, limits.answer_seconds / 2):
            self._evict(blocked[0])
            return True
        newest = min(_NEWEST, limits.connections // 4)
        for waiting in (self._phases[Phase.NEW], self._phases[Phase.HEAD], self._blocked):
            if len(waiting) > newest:
                self._evict(next(iter(waiting)))
                return True
        return False

    def _evict(self, connection: Connection) -> None:
        if connection.phase is not Phase.TURNED_AWAY:
            note("made-room")
        connection.give_way()
        self.leave(connection)

    def _look_around(self, loop: asyncio.AbstractEventLoop) -> None:
        self._clock += ROUND_SECONDS
        now = self._clock
        anybody = any(self._phases)
        self._timer = loop.call_later(ROUND_SECONDS, self._look_around, loop) if anybody else None
        for connection in list(self._overdue(now)):
            connection.check(now)
        for connection in list(self._blocked):
            connection.check_writing(now)

    def _overdue(self, now: float) -> Iterator[Connection]:
        """Yield the connections to be looked at: of the phases with one deadline for all the first ones alone."""
        limits = self.limits
        for phase, seconds in (
            (Phase.NEW, limits.first_byte_seconds),
            (Phase.HEAD, limits.head_seconds),
            (Phase.IDLE, limits.keep_alive_seconds),
        ):
            for connection in self._phases[phase]:
                if now - connection.since <= seconds + ROUND_SECONDS:  # it came at some moment of its first round
                    break
                yield connection
        for phase in (Phase.BODY, Phase.DRAINING, Phase.REFUSED, Phase.TURNED_AWAY, Phase.CLOSING):
            yield from self._phases[phase]
