"""Middleware of a process that is told to stop: each answer asks the client to open its next connection elsewhere.

Without it a client keeps its connection until the port closes, and a request that it sends at that moment is lost.
Source: RFC 9112, 9.6 (`Connection: close`).
"""

from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Draining:
    """ASGI middleware that ends each connection with its next answer once `stopping` returns true."""

    def __init__(self, app: ASGIApp, stopping: Callable[[], bool]) -> None:
        self._app = app
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start" and self._stopping():
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, receive, send_last)
