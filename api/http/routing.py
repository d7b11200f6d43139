"""One resource, one route: a path with an endpoint for each method, so that 405 can name all it allows."""

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api.http.auth import Endpoint


class Resource:
    """The endpoints of one path by method. `template` names it in metrics."""

    def __init__(self, template: str, endpoints: dict[str, Endpoint]) -> None:
        self.template = template
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        method = "GET" if request.method == "HEAD" else request.method
        response = await self._endpoints[method](request)
        await response(scope, receive, send)


def resource(path: str, **endpoints: Endpoint) -> Route:
    """Return the route of a resource: `resource("/version", GET=…)`."""
    return Route(path, Resource(path, endpoints), methods=sorted(endpoints))
