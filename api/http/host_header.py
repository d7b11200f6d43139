"""The check that a request has exactly one valid `Host`.

Source: RFC 9112, 3.2; docs/contract.md "Requests".
"""

import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.problems import problem
from engine.errors import InvalidRequest
from engine.texts import truncate

_HOST = re.compile(r"(?:\[[0-9A-Za-z:.%~_-]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?\Z", re.ASCII)


class HostCheck:
    """ASGI middleware that refuses requests with no host, with several hosts, or with an invalid one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = _host_error(scope) if scope["type"] == "http" else None
        app = self._app if error is None else problem(scope, 400, InvalidRequest.code, error)
        await app(scope, receive, send)


def _host_error(scope: Scope) -> str | None:
    hosts = header_values(scope, b"host")
    if len(hosts) > 1:
        return "header host appears twice"
    if not hosts:
        return None if scope["http_version"] == "1.0" else "header host is missing"
    return None if _HOST.match(hosts[0]) else f"header host is not a valid host: {truncate(hosts[0])!r}"


def header_values(scope: Scope, wanted: bytes) -> list[str]:
    """Return the values of a header, in the order in which they were sent. Args: wanted: its name in lower case."""
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return [value.decode("latin-1").strip(" \t") for name, value in headers if name == wanted]
