"""What a server without an API key accepts: only requests that are for its machine and come from it.

Owns: what the headers of a request show about its origin. A server without a key listens on loopback, but the socket
does not show who sent a request: any web site can let its name resolve to 127.0.0.1 (DNS rebinding), and a reverse
proxy forwards requests of other machines. Therefore the headers that browsers and proxies add are checked.
Limits: a proxy that adds no header and sends `Host: 127.0.0.1` looks the same as a program on this machine.
Source: Fetch, "Origin" and Fetch Metadata; RFC 9112, 3.2; docs/contract.md "Authentication".
"""

import re
from collections.abc import MutableMapping
from typing import Any

import httptools
from starlette.requests import Request
from starlette.types import Scope

from api.http.host_header import header_values
from engine.errors import Forbidden
from engine.texts import truncate

_LOCAL = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]*)?\Z", re.ASCII | re.IGNORECASE)
_LOCAL_ORIGIN = re.compile(r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]*)?\Z", re.ASCII | re.IGNORECASE)
_PROXY_HEADERS = frozenset(
    {"cf-connecting-ip", "fastly-client-ip", "forwarded", "true-client-ip", "via", "x-arr-clientip", "x-client-ip"}
    | {"x-cluster-client-ip", "x-envoy-external-address", "x-real-ip"}
)
_PROXY_HEADER_PREFIX = "x-forwarded-"
_TARGET_HOST = "target_host"  # key in a request's state: the host of a request target in absolute form
_NO_KEY_HINT = (
    "but without an API key this server answers only programs and pages of its own machine: set METERPORT_API_KEY"
)


def record_target_host(state: MutableMapping[str, Any], target: bytes) -> None:
    """Record the host of a request target in absolute form, if there is one: it takes precedence over `Host`.

    Args: state: the state in the scope of the request. target: the request target, as it was sent.
    """
    if target.startswith(b"/"):
        return
    parts = httptools.parse_url(target)
    if parts.host is not None:
        host = parts.host.decode("latin-1")
        host = f"[{host}]" if ":" in host else host
        state[_TARGET_HOST] = host if parts.port is None else f"{host}:{parts.port}"


def check_local(request: Request) -> None:
    """Check, by its headers, that a request is for this machine and comes from it. Raises: Forbidden: it says why."""
    scope = request.scope
    host = scope["state"].get(_TARGET_HOST) or next(iter(header_values(scope, b"host")), "")
    if not _LOCAL.match(host):
        raise Forbidden(f"the request is for host {truncate(host)!r}, {_NO_KEY_HINT}")
    for name in request.headers:
        if name in _PROXY_HEADERS or name.startswith(_PROXY_HEADER_PREFIX):
            raise Forbidden(f"the request came through a proxy, which sent {truncate(name)}, {_NO_KEY_HINT}")
    origins = header_values(scope, b"origin")
    if not all(map(_LOCAL_ORIGIN.match, origins)):
        raise Forbidden(f"the request comes from a page of {truncate(', '.join(origins))!r}, {_NO_KEY_HINT}")
    if not origins and "cross-site" in header_values(scope, b"sec-fetch-site") and not _is_navigation(scope):
        raise Forbidden(f"the request comes from a page of another site, {_NO_KEY_HINT}")


def _is_navigation(scope: Scope) -> bool:
    """Return whether a person followed a link to this server: the page with the link cannot read the answer."""
    mode, destination = header_values(scope, b"sec-fetch-mode"), header_values(scope, b"sec-fetch-dest")
    return mode == ["navigate"] and destination == ["document"]
