"""A blocking client of an ASGI application in this process: httpx over its ASGI transport, on its own event loop.

It compares every answer with api/openapi.yaml: status, media type, headers and body must be those that the document has
for the route. So each test of the API also tests the document.
"""

import re
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import schemathesis
from anyio.from_thread import BlockingPortal
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.routing import Route
from starlette.types import ASGIApp

from api.http.openapi import document, documented_path

DOCUMENT = schemathesis.openapi.from_dict(document())
CONFORMANCE = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def check(method: str, path: str, response: httpx.Response) -> None:
    """Check an answer of one operation. Raises: FailureGroup: the answer does not match the document."""
    any_path = dict.fromkeys(re.findall(r"{(\w+)}", path), "any")
    DOCUMENT[path][method].Case(path_parameters=any_path).validate_response(
        _without_request_content(response), checks=CONFORMANCE
    )


def _without_request_content(response: httpx.Response) -> httpx.Response:
    """Return the answer with a request that has no headers and no body: tests send invalid ones on purpose.

    The content of the answer is already decompressed.
    """
    request = httpx.Request(response.request.method, response.request.url)
    headers = [(name, value) for name, value in response.headers.multi_items() if name != "content-encoding"]
    bare = httpx.Response(response.status_code, headers=headers, content=response.content, request=request)
    bare.elapsed = timedelta()
    return bare


class ApiClient:
    """A client that calls the application as a browser or producer would. Every request has the `headers`."""

    def __init__(self, portal: BlockingPortal, app: ASGIApp, headers: dict[str, str] | None = None) -> None:
        self._portal = portal
        self._routes = [route for route in getattr(app, "routes", []) if isinstance(route, Route)]
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost", headers=headers or {}
        )

    def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        response = self._portal.call(partial(self._client.request, method, url, **options))
        self._check(method, response)
        return response

    def _check(self, method: str, response: httpx.Response) -> None:
        """Check an answer against the document. An answer that no route gave belongs to none of its operations."""
        for route in self._routes:
            if route.path_regex.match(response.request.url.path) and method in (route.methods or set()) - {"HEAD"}:
                check(method, documented_path(route.path), response)

    def get(self, url: str, **options: Any) -> httpx.Response:
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Any) -> httpx.Response:
        return self.request("POST", url, **options)

    def put(self, url: str, **options: Any) -> httpx.Response:
        return self.request("PUT", url, **options)

    def delete(self, url: str, **options: Any) -> httpx.Response:
        return self.request("DELETE", url, **options)
