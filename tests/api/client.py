"""A blocking client of an ASGI application in this process: httpx over its ASGI transport, on a loop of its own."""

from functools import partial
from typing import Any

import httpx
from anyio.from_thread import BlockingPortal
from starlette.types import ASGIApp


class ApiClient:
    """Calls the application as a browser or producer would. `headers` go with every request."""

    def __init__(self, portal: BlockingPortal, app: ASGIApp, headers: dict[str, str] | None = None) -> None:
        self._portal = portal
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://meterport", headers=headers or {}
        )

    def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        return self._portal.call(partial(self._client.request, method, url, **options))

    def get(self, url: str, **options: Any) -> httpx.Response:
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Any) -> httpx.Response:
        return self.request("POST", url, **options)

    def put(self, url: str, **options: Any) -> httpx.Response:
        return self.request("PUT", url, **options)

    def delete(self, url: str, **options: Any) -> httpx.Response:
        return self.request("DELETE", url, **options)
