"""CORS for the portal's meters, and for nothing else: browsers call these with a portal token.

Owns: which paths are open to pages, and what differs from starlette's middleware. A page of an origin that is not
allowed gets the same answers without the headers. Whatever request headers a page asks for are allowed: tracing adds
some of its own to each request, and there is nothing to protect. Credentials (cookies) are never allowed: a portal
token travels in Authorization.
Source: docs/contract.md D.23 and "Portal"; the Fetch standard, "CORS protocol".
"""

import re
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = ("GET", "POST", "OPTIONS")
_REQUEST_HEADERS = ("Authorization", "If-None-Match", "Origin")  # besides those any page may send
_EXPOSED = ("ETag", "Content-Disposition", "Retry-After", "WWW-Authenticate", "X-Meterport-Grains", "Date", "Link")
_MAX_AGE = 3600  # seconds a browser may keep a preflight answer
_NAMES = re.compile(r"[\w!#$%&'*+.^`|~-]+(?:[ \t]*,[ \t]*[\w!#$%&'*+.^`|~-]+)*", re.ASCII)
_MOST_CHARACTERS = 4096
_ORIGIN = "Access-Control-Allow-Origin"


class PortalCors(CORSMiddleware):
    """ASGI middleware around everything; acts on `prefix` and below. `origins`: `*` is any."""

    def __init__(self, app: ASGIApp, prefix: str, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=_REQUEST_HEADERS,
            expose_headers=_EXPOSED,
            max_age=_MAX_AGE,
        )
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        covered = scope["type"] == "http" and self._covers(scope["path"])
        await (super().__call__ if covered else self.app)(scope, receive, send)

    def _covers(self, path: str) -> bool:
        return path == self._prefix or path.startswith(f"{self._prefix}/")

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a preflight: 200 always, for it is the browser that judges."""
        origin = request_headers["origin"]
        if not self.is_allowed_origin(origin):
            return Response(headers={"Vary": self.preflight_headers["Vary"]})
        asked = request_headers.get("access-control-request-headers", "")
        names = {}
        if len(asked) <= _MOST_CHARACTERS and _NAMES.fullmatch(asked):
            names["Access-Control-Allow-Headers"] = asked
        return Response(headers={**self.preflight_headers, **self._origin(origin), **names})

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        """Send a message of an answer, the first one with the headers for pages."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if not self.allow_all_origins:
                headers.add_vary_header("Origin")
            origin = request_headers.get("origin")
            if origin is not None and self.is_allowed_origin(origin):
                headers.update({**self.simple_headers, **self._origin(origin)})
        await send(message)

    def _origin(self, origin: str) -> dict[str, str]:
        return {_ORIGIN: "*" if self.allow_all_origins else origin}
