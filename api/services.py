"""What the API is given to work with, and how it works with it without holding up the event loop.

Owns: `Services`, the engine as the routes see it, and `in_thread`, through which every blocking engine call goes.
The threads are two fewer than the store has handles, so that ingest and the fill always find one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio.to_thread
from starlette.requests import Request

from engine.clock import Clock, utc_now
from engine.ports import EventAppender
from engine.registry import MeterRegistry
from engine.settings import Settings
from engine.store import Store
from engine.subjects import Subjects
from engine.tokens import PortalTokens

HANDLES_FOR_INGEST = 2
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Services:
    """Everything the routes call. `unready`: why the process is not ready, None if it is."""

    settings: Settings
    store: Store
    registry: MeterRegistry
    tokens: PortalTokens
    subjects: Subjects
    log: EventAppender
    unready: Callable[[], str | None]
    clock: Clock = utc_now


def thread_limit(settings: Settings) -> anyio.CapacityLimiter:
    """Return the limit on engine calls at a time; create_app keeps it in the application's state."""
    return anyio.CapacityLimiter(max(1, settings.store.handles - HANDLES_FOR_INGEST))


async def in_thread(request: Request, call: Callable[[], T]) -> T:
    """Run a blocking engine call in a thread; waits while as many run as may."""
    return await anyio.to_thread.run_sync(call, limiter=request.app.state.threads)
