"""What the API is given to work with, and how it works with it without holding up the event loop.

Owns: `Dependencies`, the engine as the routes see it, and `in_thread`, through which every blocking engine call goes
when its turn has come (api/shares.py).
The threads are two fewer than the store has handles, so that ingest and the fill always find one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request

from api.shares import MANAGEMENT, Shares
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
    """Everything the routes call. `readiness`: what the process cannot do now."""

    settings: Settings
    store: Store
    registry: MeterRegistry
    tokens: PortalTokens
    subjects: Subjects
    log: EventAppender
    readiness: Callable[[], Readiness]
    clock: Clock = utc_now


def share_store(app: Starlette, settings: Settings) -> None:
    """Keep in an application's state who works with the store, and in how many threads."""
    places = max(1, settings.store.handles - HANDLES_FOR_INGEST)
    app.state.threads = anyio.CapacityLimiter(places)
    app.state.shares = Shares(places, settings.query.waiting, settings.query.timeout_seconds)


async def in_thread(request: Request, call: Callable[[], T]) -> T:
    """Run a blocking engine call in a thread, when its turn has come.

    Raises: Busy, TooManyRequests: so much waits that it cannot wait too. ClientDisconnect: nobody waits for it.
    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    state = request.app.state
    async with state.shares.turn(getattr(request.state, "holder", MANAGEMENT), gone):
        return await anyio.to_thread.run_sync(call, limiter=state.threads)
