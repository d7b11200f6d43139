"""Whose turn it is to work with the store: a share for each tenant, so that nobody's questions starve another's.

    request ─▶ `turn(holder)` ─▶ runs at once, if a place is free and its holder has a share of it left
                              ─▶ otherwise waits behind the holder's own requests; holders are called in turn

Owns: the places (threads, each with a handle of the store), who has them, and who waits. A holder is a subject whose
portal tokens ask, or the management API as a whole. One subject has half of the places at most; all portal tokens
together, and the management API, leave one place to each other. Ingest, the fill and the revocations have handles of
their own (engine/store/clickhouse.py) and never wait here.
Limits: `query.waiting` requests of one holder wait, MOST_WAITING of all; each for `query.timeout_seconds` at most. A
request whose client has gone leaves the queue.
Source: docs/design.md R23; docs/contract.md "Requests".
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect

from engine.errors import Busy, TooManyRequests

MANAGEMENT = "management"
MOST_WAITING = 1000


def portal_holder(subject: str) -> str:
    """Return the holder that all portal tokens of a subject are."""
    return f"subject {subject}"


class Shares:
    """The places of one application. Not thread-safe: asked on the event loop.

    Invariant: whoever waits may not run now.
    Args: places: how many may work at a time. waiting: requests of one holder that may wait. seconds: how long one
        may wait.
    """

    def __init__(self, places: int, waiting: int, seconds: float) -> None:
        self._places = places
        self._most_waiting = waiting
        self._seconds = seconds
        self._running: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()  # the next in turn first

    @asynccontextmanager
    async def turn(self, holder: str, gone: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """Have a place while the block runs.

        Args: gone: returns when the client has gone; asked only of a request that waits.
        Raises: TooManyRequests, Busy: so many wait that this one cannot, or it waited too long. ClientDisconnect.
        """
        if self._may_run(holder):
            self._running[holder] += 1
        else:
            await self._wait(holder, gone)
        try:
            yield
        finally:
            self._give_back(holder)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return sum(map(len, self._waiting.values()))

    async def _wait(self, holder: str, gone: Callable[[], Awaitable[None]]) -> None:
        called = self._queue(holder)
        watched = asyncio.ensure_future(gone())
        try:
            await asyncio.wait({called, watched}, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:  # the server ends the request
            if not self._leave(holder, called):
                self._give_back(holder)
            raise
        finally:
            left = watched.done()
            watched.cancel()
        if self._leave(holder, called):
            raise ClientDisconnect if left else self._too_long()

    def _queue(self, holder: str) -> "asyncio.Future[None]":
        if self.waiting >= MOST_WAITING:
            raise Busy(f"{MOST_WAITING} requests wait for the store already, try again")
        waiting = self._waiting.setdefault(holder, deque())
        if len(waiting) >= self._most_waiting:
            words = f"requests wait for the store already, which is the limit {self._most_waiting} (query.waiting)"
            if holder == MANAGEMENT:
                raise Busy(f"too many {words}")
            raise TooManyRequests(f"too many of the token's {words}")
        called = asyncio.get_running_loop().create_future()
        waiting.append(called)
        return called

    def _too_long(self) -> Busy:
        return Busy(f"the store was busy for {self._seconds:g} seconds, try again")

    def _leave(self, holder: str, called: "asyncio.Future[None]") -> bool:
        """Take a request out of the queue. Returns whether it was there: otherwise it has been given a place."""
        if called.done():
            return False
        self._waiting[holder].remove(called)
        if not self._waiting[holder]:
            del self._waiting[holder]
        return True

    def _give_back(self, holder: str) -> None:
        self._running[holder] -= 1
        if not self._running[holder]:
            del self._running[holder]
        while called := next((waiter for waiter in self._waiting if self._may_run(waiter)), None):
            self._call(called)

    def _call(self, holder: str) -> None:
        """Give a place to the one of a holder's requests that waits longest; the holder's next turn comes last."""
        waiting = self._waiting.pop(holder)
        waiting.popleft().set_result(None)
        self._running[holder] += 1
        if waiting:
            self._waiting[holder] = waiting

    def _may_run(self, holder: str) -> bool:
        total = self._running.total()
        leaves_one = max(1, self._places - 1)
        if holder == MANAGEMENT:
            return total < self._places and self._running[MANAGEMENT] < leaves_one
        portal = total - self._running[MANAGEMENT]
        share = max(1, self._places // 2)
        return total < self._places and portal < leaves_one and self._running[holder] < share
