"""Fair access to the store: every tenant has a limited share, so that one tenant's queries cannot starve another's.

    request ─▶ `turn(holder)` ─▶ runs at once if a slot is free and the holder has not used up its share
                              ─▶ otherwise waits behind the holder's own requests; holders are served in turn

Owns: the slots (a slot is a thread with a handle of the store), which holder uses how many of them, and the queues.
A holder is a subject, whichever of its portal tokens is used, or the management API as a whole. One subject uses at
most half of the slots. All portal tokens together always leave one slot to the management API, and the management API
always leaves one to them. Ingest, the fill and the reading of invalidations have their own handles
(engine/store/clickhouse.py) and never wait here.
Limits: `query.waiting` requests of one holder can wait, and MAX_WAITING requests in total, each for at most
`query.timeout_seconds`. A request leaves the queue when its client disconnects.
Source: docs/design.md R23 (shares of the store); docs/contract.md "Requests".
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect

from engine.errors import Busy, TooManyRequests

MANAGEMENT = "management"
MAX_WAITING = 1000


def portal_holder(subject: str) -> str:
    """Return the holder that all portal tokens of a subject share."""
    return f"subject {subject}"


class FairQueue:
    """The slots of one application, and the requests that wait for one. Not thread-safe: used on the event loop only.

    Invariant: no request waits that is allowed to run.
    Args: slots: how many requests may use the store at a time. waiting: how many requests of one holder may wait.
        seconds: how long a request may wait.
    """

    def __init__(self, slots: int, waiting: int, seconds: float) -> None:
        self._slots = slots
        self._max_waiting_per_holder = waiting
        self._max_wait_seconds = seconds
        self._running: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()  # the next holder comes first

    @asynccontextmanager
    async def turn(self, holder: str, client_gone: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """Hold a slot while the block runs.

        Args: client_gone: returns when the client has disconnected; awaited only while the request waits.
        Raises: TooManyRequests, Busy: too many requests wait already, or this one waited too long. ClientDisconnect:
            the client disconnected while the request waited.
        """
        if self._may_run(holder):
            self._running[holder] += 1
        else:
            await self._wait(holder, client_gone)
        try:
            yield
        finally:
            self._release(holder)

    @property
    def waiting(self) -> int:
        """Return how many requests wait."""
        return sum(map(len, self._waiting.values()))

    async def _wait(self, holder: str, client_gone: Callable[[], Awaitable[None]]) -> None:
        granted = self._enqueue(holder)
        disconnected = asyncio.ensure_future(client_gone())
        try:
            await asyncio.wait(
                {granted, disconnected}, timeout=self._max_wait_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        except BaseException:  # the server cancelled the request
            if not self._dequeue(holder, granted):
                self._release(holder)
            raise
        finally:
            client_left = disconnected.done()
            disconnected.cancel()
        if self._dequeue(holder, granted):
            raise ClientDisconnect if client_left else self._waited_too_long()

    def _enqueue(self, holder: str) -> "asyncio.Future[None]":
        if self.waiting >= MAX_WAITING:
            raise Busy(f"{MAX_WAITING} requests wait for the store already, try again")
        waiting = self._waiting.setdefault(holder, deque())
        if len(waiting) >= self._max_waiting_per_holder:
            words = f"wait for the store already; the limit is {self._max_waiting_per_holder} (query.waiting)"
            if holder == MANAGEMENT:
                raise Busy(f"too many requests {words}")
            raise TooManyRequests(f"too many requests of this subject {words}")
        granted = asyncio.get_running_loop().create_future()
        waiting.append(granted)
        return granted

    def _waited_too_long(self) -> Busy:
        return Busy(f"the store was busy for {self._max_wait_seconds:g} seconds, try again")

    def _dequeue(self, holder: str, granted: "asyncio.Future[None]") -> bool:
        """Remove a request from the queue. Return False if it was not there because it has already got a slot."""
        if granted.done():
            return False
        self._waiting[holder].remove(granted)
        if not self._waiting[holder]:
            del self._waiting[holder]
        return True

    def _release(self, holder: str) -> None:
        self._running[holder] -= 1
        if not self._running[holder]:
            del self._running[holder]
        while next_holder := next((waiter for waiter in self._waiting if self._may_run(waiter)), None):
            self._grant_next(next_holder)

    def _grant_next(self, holder: str) -> None:
        """Give a slot to the holder's oldest waiting request; the holder then goes to the end of the queue."""
        waiting = self._waiting.pop(holder)
        waiting.popleft().set_result(None)
        self._running[holder] += 1
        if waiting:
            self._waiting[holder] = waiting

    def _may_run(self, holder: str) -> bool:
        total = self._running.total()
        all_but_one = max(1, self._slots - 1)
        if holder == MANAGEMENT:
            return total < self._slots and self._running[MANAGEMENT] < all_but_one
        portal_running = total - self._running[MANAGEMENT]
        most_per_subject = max(1, self._slots // 2)
        return total < self._slots and portal_running < all_but_one and self._running[holder] < most_per_subject
