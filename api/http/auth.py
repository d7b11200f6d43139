"""Who may call: the API key on management routes, portal tokens on portal routes, never one for the other.

Owns: the reading of `Authorization`, the comparison of keys, and the guards every route is put behind. A guard judges
before the route looks at any parameter. Nothing here is ever logged.
Whoever tries wrong keys is answered 429 after some of them, by address: a flood of them costs little, and shows. The
right key is taken all the same, for behind a proxy everybody has one address.
Source: docs/contract.md D.1, D.3, D.21 and "Portal"; docs/design.md R20.
"""

import hashlib
import hmac
import ipaddress
import re
import time
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from api.dependencies import Dependencies
from api.http.hosts import check_local
from api.http.limits import RequestLimit
from api.http.responses import conditional
from api.shares import portal_holder
from engine.errors import Unauthorized
from engine.tokens.portal_tokens import TokenClaims

# RFC 9110: the scheme in any case (11.1), one space or more behind it (11.4), spaces and tabs around the whole (5.5).
_CREDENTIALS = re.compile(r"[ \t]*bearer +([^ \t]+)[ \t]*\Z", re.IGNORECASE | re.ASCII)

Endpoint = Callable[[Request], Awaitable[Response]]
Handler = Callable[[Dependencies, Request], Awaitable[Response]]
PortalHandler = Callable[[Dependencies, Request, TokenClaims], Awaitable[Response]]


def unguarded(dependencies: Dependencies, handler: Handler) -> Endpoint:
    """Return an endpoint anyone may call."""

    async def endpoint(request: Request) -> Response:
        return await handler(dependencies, request)

    return endpoint


def managed(dependencies: Dependencies, wrong_keys: RequestLimit, handler: Handler) -> Endpoint:
    """Return an endpoint that takes the API key; without a key configured it is open to the machine it runs on.

    Args: wrong_keys: how many requests with a wrong key, or none, an address may make.
    """

    async def endpoint(request: Request) -> Response:
        if dependencies.settings.api_key_digest is None:
            check_local(request)
        else:
            try:
                check_key(request, dependencies.settings.api_key_digest)
            except Unauthorized:
                wrong_keys.take(client_address(request), time.monotonic())
                raise
        response = await handler(dependencies, request)
        return conditional(request, response, "") if request.method in {"GET", "HEAD"} else response

    return endpoint


def portal(dependencies: Dependencies, limit: RequestLimit, handler: PortalHandler) -> Endpoint:
    """Return an endpoint that takes a portal token, as often as it may, and of its path only a meter it allows."""

    async def endpoint(request: Request) -> Response:
        claims = dependencies.tokens.verify(bearer(request))
        limit.take(claims.id, time.monotonic())
        request.state.holder = portal_holder(claims.subject)
        slug = request.path_params.get("slug")
        if slug is not None and not claims.allows(slug):
            raise Unauthorized("meter slug not allowed")
        return conditional(request, await handler(dependencies, request, claims), claims.id)

    return endpoint


def check_key(request: Request, digest: bytes) -> None:
    """Check the API key in constant time. Raises: Unauthorized."""
    if not hmac.compare_digest(hashlib.sha256(bearer(request).encode()).digest(), digest):
        raise Unauthorized("invalid api key")


def client_address(request: Request) -> str:
    """Return who asks: an address, of IPv6 the network of which one host has all addresses."""
    host = request.client.host if request.client else ""
    if ":" not in host:
        return host
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        return host


def bearer(request: Request) -> str:
    """Return the credential of the Authorization header. Raises: Unauthorized."""
    values = request.headers.getlist("authorization")
    if not values:
        raise Unauthorized("missing authorization header")
    found = _CREDENTIALS.match(values[0])
    if len(values) > 1 or not found:
        raise Unauthorized("invalid authorization header")
    return found[1]
