"""One route per resource: a path with an endpoint for each method, so that a 405 can name all allowed methods."""

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api.http.auth import Endpoint


class Resource:
    """The endpoints of one path, by method. `template` is the name of the path in metrics."""

    def __init__(self, template: str, endpoints: dict[str, Endpoint]) -> None:
        self.template = template
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        method = "GET" if request.method == "HEAD" else request.method
        response = await self._endpoints[method](request)
        await response(scope, receive, send)


def resource(path: str, **endpoints: Endpoint) -> Route:
    """Return the route of a resource, as in `resource("/version", GET=…)`."""
    return Route(path, Resource(path, endpoints), methods=sorted(endpoints))
