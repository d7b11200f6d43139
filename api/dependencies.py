"""The objects that the routes work with, and how routes call them without blocking the event loop.

Owns: `Dependencies`, which holds these objects, and `in_thread`, which runs a blocking call of the engine in a thread
when it gets its turn (api/fair_queue.py). All blocking calls of the engine go through it.
Limits: there are two threads fewer than the store has handles, so that ingest and the fill always find a free handle.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request

from api.fair_queue import MANAGEMENT, FairQueue
from engine.config.settings import Settings
from engine.events.appender import EventAppender
from engine.health import Readiness
from engine.instants import Clock, utc_now
from engine.meters.registry import MeterRegistry
from engine.store.clickhouse import Store
from engine.store.memory import HANDLES_FOR_INGEST
from engine.subjects import Subjects
from engine.tokens.portal_tokens import PortalTokens

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Everything that the routes call.

    `readiness` returns what the process can and cannot do now, and `stopping` whether it was told to stop.
    """

    settings: Settings
    store: Store
    registry: MeterRegistry
    tokens: PortalTokens
    subjects: Subjects
    appender: EventAppender
    readiness: Callable[[], Readiness]
    stopping: Callable[[], bool] = lambda: False
    clock: Clock = utc_now


def share_store(app: Starlette, settings: Settings) -> None:
    """Set the number of threads that use the store, and how requests share them, in an application's state."""
    slots = max(1, settings.store.handles - HANDLES_FOR_INGEST)
    app.state.threads = anyio.CapacityLimiter(slots)
    app.state.fair_queue = FairQueue(slots, settings.query.waiting, settings.query.timeout_seconds)


async def in_thread(request: Request, call: Callable[[], T]) -> T:
    """Run a blocking call in a thread as soon as the request gets its turn; return the result of the call.

    Raises: Busy, TooManyRequests: too many requests wait already, or this one waited too long. ClientDisconnect: the
        client disconnected while its request waited.
    """

    async def client_gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    state = request.app.state
    async with state.fair_queue.turn(getattr(request.state, "holder", MANAGEMENT), client_gone):
        return await anyio.to_thread.run_sync(call, limiter=state.threads)
