"""The HTTP application of a process that has not opened its store yet: it is alive, not ready, and says why.

Owns: the answers of both ports until the application of api/app.py takes over. Every path but those for probes and
metrics is answered with 503, whatever the credentials are: nothing can be checked yet.
"""

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.http.cors import portal_cors
from api.http.host_header import HostCheck
from api.http.problems import HANDLERS
from api.http.responses import json_response
from api.http.routing import resource
from api.http.telemetry import Telemetry
from api.routes.operations import metrics_response, not_ready, readiness_response
from engine.health import Readiness


def create_starting_app(readiness: Callable[[], Readiness], has_metrics: bool, origins: Sequence[str]) -> Starlette:
    """Return the application of a process that is starting.

    Args: has_metrics: it is for the telemetry port. origins: those whose pages may read why the portal is not ready.
    """

    async def get_liveness(_: Request) -> Response:
        return json_response({"status": "ok"})

    async def get_readiness(request: Request) -> Response:
        return readiness_response(request, readiness())

    async def get_metrics(_: Request) -> Response:
        return metrics_response()

    async def refuse(request: Request) -> Response:
        state = readiness()
        return not_ready(request, state, f"this process is starting; {state.reason}")

    routes: list[Route] = [resource("/livez", GET=get_liveness), resource("/readyz", GET=get_readiness)]
    if has_metrics:
        routes.append(resource("/metrics", GET=get_metrics))
    else:
        every = dict.fromkeys(("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"), refuse)
        routes.append(resource("/{path:path}", **every))
    layers = [*portal_cors(origins), Middleware(Telemetry), Middleware(HostCheck)]
    return Starlette(routes=routes, middleware=layers, exception_handlers=HANDLERS)
