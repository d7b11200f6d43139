"""CORS for the portal routes that browsers call with a portal token, and for no other route.

Owns: the paths that pages of other origins may call, and the differences from starlette's middleware. A page of an
origin that is not allowed gets the same answers without the CORS headers. A page may send any request header: tracing
libraries add headers to each request, and there is nothing to protect. Credentials (cookies) are never allowed: a
portal token is sent in Authorization.
Source: docs/contract.md D.23 and "Portal"; the Fetch standard, "CORS protocol".
"""

import re
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The paths that pages of other origins may call, and all paths below them.
PORTAL_METERS = "/api/v1/portal/meters"
PORTAL_SUBJECT = "/api/v1/portal/subject"
_METHODS = ("GET", "POST", "OPTIONS")
_REQUEST_HEADERS = ("Authorization", "If-None-Match", "Origin")  # in addition to those the Fetch standard always allows
_EXPOSED_HEADERS = (
    "ETag",
    "Content-Disposition",
    "Retry-After",
    "WWW-Authenticate",
    "X-Meterport-Grains",
    "Date",
    "Link",
)
_MAX_AGE_SECONDS = 3600  # how long a browser may cache the answer to a preflight
_NAMES = re.compile(r"[\w!#$%&'*+.^`|~-]+(?:[ \t]*,[ \t]*[\w!#$%&'*+.^`|~-]+)*", re.ASCII)
_MAX_REQUESTED_CHARACTERS = 4096
_ALLOW_ORIGIN = "Access-Control-Allow-Origin"


def portal_cors(origins: Sequence[str]) -> list[Middleware]:
    """Return the middleware that lets pages of `origins` call the portal. `*` among them allows every origin."""
    return [Middleware(PortalCors, prefix=prefix, origins=origins) for prefix in (PORTAL_METERS, PORTAL_SUBJECT)]


class PortalCors(CORSMiddleware):
    """ASGI middleware that adds CORS to `prefix` and the paths below it. `*` in `origins` allows every origin."""

    def __init__(self, app: ASGIApp, prefix: str, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=_REQUEST_HEADERS,
            expose_headers=_EXPOSED_HEADERS,
            max_age=_MAX_AGE_SECONDS,
        )
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        covered = scope["type"] == "http" and self._covers(scope["path"])
        await (super().__call__ if covered else self.app)(scope, receive, send)

    def _covers(self, path: str) -> bool:
        return path == self._prefix or path.startswith(f"{self._prefix}/")

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a preflight request, always with status 200: the browser decides by the headers."""
        origin = request_headers["origin"]
        if not self.is_allowed_origin(origin):
            return Response(headers={"Vary": self.preflight_headers["Vary"]})
        requested = request_headers.get("access-control-request-headers", "")
        names = {}
        if len(requested) <= _MAX_REQUESTED_CHARACTERS and _NAMES.fullmatch(requested):
            names["Access-Control-Allow-Headers"] = requested
        return Response(headers={**self.preflight_headers, **self._origin(origin), **names})

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        """Send one ASGI message of a response; add the CORS headers to the first one."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if not self.allow_all_origins:
                headers.add_vary_header("Origin")
            origin = request_headers.get("origin")
            if origin is not None and self.is_allowed_origin(origin):
                headers.update({**self.simple_headers, **self._origin(origin)})
        await send(message)

    def _origin(self, origin: str) -> dict[str, str]:
        return {_ALLOW_ORIGIN: "*" if self.allow_all_origins else origin}
