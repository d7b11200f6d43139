"""The open connections of one port: their maximum number, what each one waits for, and how long it may wait.

    NEW ─▶ HEAD ─▶ BODY ─▶ ANSWERING ─▶ IDLE ─▶ HEAD …

    DRAINING: answered before the whole body arrived; the rest is read    REFUSED: answered by the server itself
    TURNED_AWAY: over the maximum number of connections                   CLOSING: the client has not read everything

Owns: the phases, a deadline for each phase in which the server waits for the client, and which connection is closed
for a new one when the maximum is reached. Deadlines are checked in rounds, every quarter of a second, so that a
request needs no timer of its own.

Time is counted in rounds. While the process cannot read from its connections (the store can hold the interpreter for
seconds), data that clients have sent stays unread. No rounds take place then, so this time does not count against the
clients.
One event loop uses the table. Each port has its own table, so that a full one does not affect another port.
Source: docs/contract.md "Connections".
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from api.server.refusals import count_end
from engine.config.server_settings import ServerSettings
from engine.metrics import CONNECTIONS, CONNECTIONS_MOST

ROUND_SECONDS = 0.25
MAX_TURNED_AWAY = 32  # connections over the maximum that are still read from, so that their 503 arrives
# A connection that has waited this long for its client may be closed for a new one; normal clients are faster.
_EVICTABLE_AFTER_SECONDS = 1.0
# A connection may be closed for a new one if its client has read nothing of the answer for this long.
_UNREAD_EVICTABLE_AFTER_SECONDS = 5.0
# In a flood, the newest connections of each of these kinds are not closed for new ones: those without a request, those
# with an incomplete head, and those whose client does not read. Of each kind it is this many, or a quarter of the
# maximum number of connections if that is less.
_PROTECTED_NEWEST = 64


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
    """The limits of one connection in bytes, header fields and seconds, and the maximum number of connections."""

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
        """Return the limits that the settings name. Args: connections: the maximum number of connections."""
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
            # Proxies often allow bodies of up to 100 MB; reading and dropping that takes 0.1 s of CPU.
            drained_bytes=max(128 << 20, 8 * settings.body_limit_bytes),
        )


class Connection(Protocol):
    """A connection, as the table uses it. `since`: when it entered its phase, in seconds of the table's clock."""

    phase: Phase
    since: float

    def check(self, now: float) -> None:
        """End the connection if its deadline has passed. Args: now: seconds of the table's clock."""

    def check_answer_read(self, now: float) -> None:
        """End the connection if its client does not read the answer, or reads it too slowly."""

    def abort(self) -> None:
        """End the connection at once, without an answer."""


class Connections:
    """The table of connections. `enter` is called two or three times per request, the rest per connection or round."""

    def __init__(self, limits: Limits, port: str) -> None:
        """Args: limits: the limits of the port. port: its name in metrics."""
        self.limits = limits
        self._phases: tuple[dict[Connection, None], ...] = tuple({} for _ in Phase)
        self._blocked: dict[Connection, float] = {}  # when each client began to read more slowly than the server sends
        self._open = 0
        self._gauge = CONNECTIONS.labels(port)
        self._clock = 0.0
        self._timer: asyncio.TimerHandle | None = None
        CONNECTIONS_MOST.labels(port).set(limits.connections)

    def __len__(self) -> int:
        return self._open

    def admit(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> bool:
        """Add a connection. Return False if the maximum is reached: its phase is then TURNED_AWAY."""
        if self._timer is None:
            self._timer = loop.call_later(ROUND_SECONDS, self._check_deadlines, loop)
        has_room = self._open < self.limits.connections or self._make_room()
        self._gauge.inc()
        if not has_room:
            self._add(connection, Phase.TURNED_AWAY)
            return False
        self._open += 1
        self._add(connection, Phase.NEW)
        return True

    def enter(self, connection: Connection, phase: Phase) -> None:
        """Record that a connection of this table is in another phase from now on."""
        phases = self._phases
        if phases[connection.phase].pop(connection, self) is not self:  # The connection has not left the table.
            phases[phase][connection] = None
            connection.phase = phase
            connection.since = self._clock

    def leave(self, connection: Connection) -> None:
        """Record that a connection is closed, or will be in the next iteration of the event loop."""
        if self._phases[connection.phase].pop(connection, self) is self:
            return
        self._gauge.dec()
        self._blocked.pop(connection, None)
        if connection.phase is not Phase.TURNED_AWAY:
            self._open -= 1

    def block(self, connection: Connection) -> None:
        """Record that a client reads more slowly than the server sends."""
        self._blocked[connection] = self._clock

    def unblock(self, connection: Connection) -> None:
        self._blocked.pop(connection, None)

    def _add(self, connection: Connection, phase: Phase) -> None:
        if phase is Phase.TURNED_AWAY and len(self._phases[phase]) >= MAX_TURNED_AWAY:
            self._evict(next(iter(self._phases[phase])))
        self._phases[phase][connection] = None
        connection.phase, connection.since = phase, self._clock

    def _make_room(self) -> bool:
        """End the connection that has waited longest for its client; return whether there was one.

        The connections of each phase are in the order in which they entered it, so the first one is the oldest.
        """
        limits, now = self.limits, self._clock
        for phase, min_wait_seconds in (
            (Phase.CLOSING, _EVICTABLE_AFTER_SECONDS),
            (Phase.REFUSED, _EVICTABLE_AFTER_SECONDS),
            (Phase.NEW, _EVICTABLE_AFTER_SECONDS),
            (Phase.HEAD, _EVICTABLE_AFTER_SECONDS),
            (Phase.DRAINING, _EVICTABLE_AFTER_SECONDS),
            (Phase.IDLE, _EVICTABLE_AFTER_SECONDS),
            (Phase.BODY, limits.body_seconds),
        ):
            oldest = next(iter(self._phases[phase]), None)
            if oldest is not None and now - oldest.since >= min_wait_seconds:
                self._evict(oldest)
                return True
        blocked = next(iter(self._blocked.items()), None)
        if blocked and now - blocked[1] >= min(_UNREAD_EVICTABLE_AFTER_SECONDS, limits.answer_seconds / 2):
            self._evict(blocked[0])
            return True
        newest = min(_PROTECTED_NEWEST, limits.connections // 4)
        for waiting in (self._phases[Phase.NEW], self._phases[Phase.HEAD], self._blocked):
            if len(waiting) > newest:
                self._evict(next(iter(waiting)))
                return True
        return False

    def _evict(self, connection: Connection) -> None:
        if connection.phase is not Phase.TURNED_AWAY:
            count_end("made-room")
        connection.abort()
        self.leave(connection)

    def _check_deadlines(self, loop: asyncio.AbstractEventLoop) -> None:
        self._clock += ROUND_SECONDS
        now = self._clock
        any_open = any(self._phases)
        self._timer = loop.call_later(ROUND_SECONDS, self._check_deadlines, loop) if any_open else None
        for connection in list(self._overdue(now)):
            connection.check(now)
        for connection in list(self._blocked):
            connection.check_answer_read(now)

    def _overdue(self, now: float) -> Iterator[Connection]:
        """Yield the connections to check. If all connections of a phase have the same deadline, only overdue ones."""
        limits = self.limits
        for phase, seconds in (
            (Phase.NEW, limits.first_byte_seconds),
            (Phase.HEAD, limits.head_seconds),
            (Phase.IDLE, limits.keep_alive_seconds),
        ):
            for connection in self._phases[phase]:
                if now - connection.since <= seconds + ROUND_SECONDS:  # It came during its first round.
                    break
                yield connection
        for phase in (Phase.BODY, Phase.DRAINING, Phase.REFUSED, Phase.TURNED_AWAY, Phase.CLOSING):
            yield from self._phases[phase]
