"""Which host a request is for, and whether a server without a key answers it.

Owns: the one `Host` of a request, and the rule for servers without an API key. Such a server listens on loopback, but
a socket does not say who asks: a page of any site can have its name point to 127.0.0.1 (DNS rebinding), and a reverse
proxy passes on requests of anybody. What the browser or the proxy says of them is looked at, therefore.
A proxy that says nothing of itself and asks for 127.0.0.1 cannot be told from a program of this machine.
Source: RFC 9112, 3.2; Fetch, "Origin" and Fetch Metadata; docs/contract.md "Authentication" and "Requests".
"""

import re
from collections.abc import Iterable, MutableMapping
from typing import Any

import httptools
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import cut, problem
from engine.errors import Forbidden, InvalidRequest

_HOST = re.compile(r"(?:\[[0-9A-Za-z:.%~_-]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?\Z", re.ASCII)
_LOCAL = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]*)?\Z", re.ASCII | re.IGNORECASE)
_LOCAL_ORIGIN = re.compile(r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]*)?\Z", re.ASCII | re.IGNORECASE)
_OF_PROXIES = frozenset(
    {"cf-connecting-ip", "fastly-client-ip", "forwarded", "true-client-ip", "via", "x-arr-clientip", "x-client-ip"}
    | {"x-cluster-client-ip", "x-envoy-external-address", "x-real-ip"}
)
_OF_PROXIES_TOO = "x-forwarded-"
_TARGET = "target_host"  # in the state of a request: the host that a target in absolute form names
_KEYLESS = "without METERPORT_API_KEY this server answers programs and pages of its own machine only; set it: "


def note_target(state: MutableMapping[str, Any], target: bytes) -> None:
    """Keep the host that the target of a request names, if it does: it goes before `Host`.

    Args: state: of the request, in its scope.
    """
    if target.startswith(b"/"):
        return
    parts = httptools.parse_url(target)
    if parts.host is not None:
        host = parts.host.decode("latin-1")
        host = f"[{host}]" if ":" in host else host
        state[_TARGET] = host if parts.port is None else f"{host}:{parts.port}"


class OneHost:
    """ASGI middleware: refuses requests that name no host, several, or something that is none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wrong = _wrong_host(scope) if scope["type"] == "http" else None
        app = self._app if wrong is None else problem(scope, 400, InvalidRequest.code, wrong)
        await app(scope, receive, send)


def _wrong_host(scope: Scope) -> str | None:
    hosts = _values(scope, b"host")
    if len(hosts) > 1:
        return "header host is there twice"
    if not hosts:
        return None if scope["http_version"] == "1.0" else "header host is missing"
    return None if _HOST.match(hosts[0]) else f"header host names no host: {cut(hosts[0])!r}"


def check_local(request: Request) -> None:
    """Check that a request is for this machine and comes from it, as far as it says. Raises: Forbidden: why not."""
    scope = request.scope
    host = scope["state"].get(_TARGET) or next(iter(_values(scope, b"host")), "")
    if not _LOCAL.match(host):
        raise Forbidden(f"{_KEYLESS}the request is for host {cut(host)!r}")
    for name in request.headers:
        if name in _OF_PROXIES or name.startswith(_OF_PROXIES_TOO):
            raise Forbidden(f"{_KEYLESS}the request came through a proxy, which sent {cut(name)}")
    origins = _values(scope, b"origin")
    if not all(map(_LOCAL_ORIGIN.match, origins)):
        raise Forbidden(f"{_KEYLESS}the request is of a page of {cut(', '.join(origins))!r}")
    if not origins and "cross-site" in _values(scope, b"sec-fetch-site") and not _is_visit(scope):
        raise Forbidden(f"{_KEYLESS}the request is of a page of another site")


def _is_visit(scope: Scope) -> bool:
    """Whether somebody followed a link to here: the page that had it sees nothing of the answer."""
    mode, destination = _values(scope, b"sec-fetch-mode"), _values(scope, b"sec-fetch-dest")
    return mode == ["navigate"] and destination == ["document"]


def _values(scope: Scope, wanted: bytes) -> list[str]:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return [value.decode("latin-1").strip(" \t") for name, value in headers if name == wanted]
