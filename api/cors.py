"""CORS for the portal's meters, and for nothing else: browsers call these with a portal token.

Owns: the preflight answer, and the headers on every answer of these paths, errors too. Credentials (cookies) are
never allowed: a portal token travels in Authorization.
Source: docs/contract.md D.23 and "Portal"; the Fetch standard, "CORS protocol".
"""

from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = "GET, POST, OPTIONS"
_REQUEST_HEADERS = "Accept, Authorization, Content-Type, If-None-Match, Origin"
_EXPOSED = "ETag, Content-Disposition, Retry-After, Date"
_MAX_AGE = "1728000"  # seconds a browser may keep a preflight answer


class PortalCors:
    """ASGI middleware around everything; acts on `prefix` and below. `origins`: `*` is any."""

    def __init__(self, app: ASGIApp, prefix: str, origins: Sequence[str]) -> None:
        self._app = app
        self._prefix = prefix
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._covers(scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await self._preflight(origin)(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._mark(MutableHeaders(scope=message), origin)
            await send(message)

        await self._app(scope, receive, with_headers)

    def _covers(self, path: str) -> bool:
        return path == self._prefix or path.startswith(f"{self._prefix}/")

    def _preflight(self, origin: str) -> Response:
        response = Response(status_code=200)
        response.headers["Vary"] = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
        allowed = self._allowed(origin)
        if allowed:
            response.headers["Access-Control-Allow-Origin"] = allowed
            response.headers["Access-Control-Allow-Methods"] = _METHODS
            response.headers["Access-Control-Allow-Headers"] = _REQUEST_HEADERS
            response.headers["Access-Control-Max-Age"] = _MAX_AGE
        return response

    def _mark(self, headers: MutableHeaders, origin: str | None) -> None:
        if "*" not in self._origins:
            headers.add_vary_header("Origin")
        allowed = self._allowed(origin) if origin else None
        if allowed:
            headers["Access-Control-Allow-Origin"] = allowed
            headers["Access-Control-Expose-Headers"] = _EXPOSED

    def _allowed(self, origin: str) -> str | None:
        if "*" in self._origins:
            return "*"
        return origin if origin in self._origins else None
