"""Authentication: management routes take API keys, portal routes take portal tokens, and never the other way round.

Owns: the parsing of `Authorization`, the comparison of keys, and the guards of the routes. A guard decides before the
route reads any parameter: whose key it is, and whether the key has the scope of the route. So what a key may not do
looks the same whatever exists. Nothing here is ever logged.
Limits: an address that keeps sending wrong keys is answered 429 after a number of them, so that a flood of wrong keys
costs little and is visible. A right key is accepted even then, because behind a proxy all clients have one address.
Source: docs/contract.md D.1, D.3, D.21 and "Portal"; docs/design.md R20 (the subject of a portal query).
"""

import hashlib
import hmac
import ipaddress
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import get_args

from starlette.requests import Request
from starlette.responses import Response

from api.dependencies import Dependencies
from api.fair_queue import portal_holder
from api.http.keyless_access import check_local
from api.http.limits import RequestLimit
from api.http.responses import conditional
from engine.config.api_keys import ManagementKey, Scope
from engine.errors import Forbidden, Unauthorized
from engine.metrics import KEY_REQUESTS, KeyUse
from engine.tokens.portal_tokens import TokenClaims

# RFC 9110: the scheme is case-insensitive (11.1) and followed by one or more spaces (11.4); spaces and tabs around the
# whole value are ignored (5.5).
_CREDENTIALS = re.compile(r"[ \t]*bearer +([^ \t]+)[ \t]*\Z", re.IGNORECASE | re.ASCII)

Endpoint = Callable[[Request], Awaitable[Response]]
Handler = Callable[[Dependencies, Request], Awaitable[Response]]
PortalHandler = Callable[[Dependencies, Request, TokenClaims], Awaitable[Response]]


def unguarded(dependencies: Dependencies, handler: Handler) -> Endpoint:
    """Return an endpoint that needs no credential."""

    async def endpoint(request: Request) -> Response:
        return await handler(dependencies, request)

    return endpoint


def managed(dependencies: Dependencies, wrong_keys: RequestLimit, scope: Scope, handler: Handler) -> Endpoint:
    """Return an endpoint that needs an API key. If no key is configured, it answers only requests of its own machine.

    Args: wrong_keys: the limit on requests of one address that have a wrong key or no key. scope: what the key must
        be allowed to do.
    """
    keys = dependencies.settings.management_keys

    async def endpoint(request: Request) -> Response:
        if keys:
            try:
                key = find_key(request, keys)
            except Unauthorized:
                wrong_keys.take(client_address(request), time.monotonic())
                raise
            check_scope(key, scope)
        else:
            check_local(request)
        response = await handler(dependencies, request)
        return conditional(request, response, "") if request.method in {"GET", "HEAD"} else response

    return endpoint


def portal(dependencies: Dependencies, limit: RequestLimit, handler: PortalHandler) -> Endpoint:
    """Return an endpoint that needs a portal token. The token must allow the meter that the path names.

    Args: limit: the limit on requests of one token.
    """

    async def endpoint(request: Request) -> Response:
        claims = dependencies.tokens.verify(bearer(request))
        limit.take(claims.id, time.monotonic())
        request.state.holder = portal_holder(claims.subject)
        slug = request.path_params.get("slug")
        if slug is not None and not claims.allows(slug):
            raise Unauthorized("meter slug not allowed")
        return conditional(request, await handler(dependencies, request, claims), claims.id)

    return endpoint


def find_key(request: Request, keys: Sequence[ManagementKey]) -> ManagementKey:
    """Return the key that a request has. Raises: Unauthorized.

    It is compared with every key, each time in constant time, so that the time of an answer says nothing about the
    keys.
    """
    digest = hashlib.sha256(bearer(request).encode()).digest()
    found = [key for key in keys if hmac.compare_digest(digest, key.digest)]
    if not found:
        raise Unauthorized("invalid api key")
    return found[0]


def check_scope(key: ManagementKey, scope: Scope) -> None:
    """Count a request with a key, and check that the key has a scope. Raises: Forbidden."""
    if not key.allows(scope):
        KEY_REQUESTS.labels(key.name, "forbidden").inc()
        raise Forbidden(f'the API key "{key.name}" lacks the scope {scope}')
    KEY_REQUESTS.labels(key.name, "allowed").inc()


def count_from_zero(keys: Sequence[ManagementKey]) -> None:
    """Let the metrics show every key from the start, so that a key that nobody uses is visible."""
    for key in keys:
        for use in get_args(KeyUse):
            KEY_REQUESTS.labels(key.name, use)


def client_address(request: Request) -> str:
    """Return the client's IPv4 address, or its IPv6 /64 network, because one host can use all addresses of that."""
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
