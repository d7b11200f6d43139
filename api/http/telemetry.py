"""The outermost layer of every request: its id, its metrics, and the answer to a defect.

Owns: the request id that problems and the log share, the counting by route template, `X-Content-Type-Options`, and
the 500 of last resort. It sits inside CORS, so that a browser can read even that.
"""

import logging
import time

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import internal_error, request_id
from api.http.routing import Resource
from engine.ids import new_ulid
from engine.metrics import REQUEST_SECONDS, REQUESTS

logger = logging.getLogger(__name__)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_GONE = 408  # what a request whose client went away is counted as


class Telemetry:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["request_id"] = new_ulid()
        started, status = time.perf_counter(), _GONE
        answering = False

        async def framed(message: Message) -> None:
            nonlocal status, answering
            if message["type"] == "http.response.start":
                status, answering = message["status"], True
                MutableHeaders(scope=message)["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            await self._app(scope, receive, framed)
        except ClientDisconnect:
            logger.debug("client_disconnected request_id=%s", request_id(scope))
        except Exception:
            if answering:
                raise
            logger.exception("request_failed request_id=%s method=%s route=%s", request_id(scope), *_names(scope))
            await internal_error(scope)(scope, receive, framed)
        finally:
            method, route = _names(scope)
            REQUESTS.labels(method, route, str(status)).inc()
            REQUEST_SECONDS.labels(route).observe(time.perf_counter() - started)


def _names(scope: Scope) -> tuple[str, str]:
    """Return method and route template, neither of which a client can multiply."""
    endpoint = scope.get("endpoint")
    method = scope["method"] if scope["method"] in _METHODS else "other"
    return method, endpoint.template if isinstance(endpoint, Resource) else "unmatched"
