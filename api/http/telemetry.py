"""Middleware around every request: the request id, the request metrics, its span, and the answer to a defect.

Owns: the request id, which is in problems and in log lines, the metrics and the span by route template, the header
`X-Content-Type-Options`, and the 500 answer to an unexpected exception. It runs inside the CORS middleware, so that a
page can read even a 500.
"""

import logging
import time

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import internal_error, request_id
from api.http.routing import Resource
from engine import tracing
from engine.ids import new_ulid
from engine.metrics import REQUEST_SECONDS, REQUESTS

logger = logging.getLogger(__name__)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NOT_TRACED = frozenset({"/livez", "/readyz", "/metrics"})  # asked every few seconds by probes and Prometheus
_DISCONNECTED_STATUS = 408  # the status in metrics of a request whose client disconnected


class Telemetry:
    """ASGI middleware; see the module."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] in _NOT_TRACED:
            await self._observe(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "other"
        with tracing.spans.request(method, scope["scheme"], scope["headers"]):
            await self._observe(scope, receive, send)

    async def _observe(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["request_id"] = new_ulid()
        started, status = time.perf_counter(), _DISCONNECTED_STATUS
        response_started = False

        async def send_observed(message: Message) -> None:
            nonlocal status, response_started
            if message["type"] == "http.response.start":
                status, response_started = message["status"], True
                MutableHeaders(scope=message)["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            await self._app(scope, receive, send_observed)
        except ClientDisconnect:
            logger.debug("client_disconnected request_id=%s", request_id(scope))
        except Exception:
            if response_started:
                raise
            logger.exception("request_failed request_id=%s method=%s route=%s", request_id(scope), *_labels(scope))
            await internal_error(scope)(scope, receive, send_observed)
        finally:
            method, route = _labels(scope)
            REQUESTS.labels(method, route, str(status)).inc()
            REQUEST_SECONDS.labels(route).observe(time.perf_counter() - started)
            tracing.spans.answered(method, route, status)


def _labels(scope: Scope) -> tuple[str, str]:
    """Return the method and the route template as metric labels: their number is bounded, whatever clients send."""
    endpoint = scope.get("endpoint")
    method = scope["method"] if scope["method"] in _METHODS else "other"
    return method, endpoint.template if isinstance(endpoint, Resource) else "unmatched"
