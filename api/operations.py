"""What operators and orchestrators ask a process: alive, ready, which version, how much.

Source: docs/contract.md D.21.
"""

import platform

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from api.problems import RETRY_SECONDS, problem
from api.responses import json_response
from api.services import Services
from engine import __version__
from engine.metrics import REGISTRY


async def alive(services: Services, request: Request) -> Response:  # noqa: ARG001 - every handler takes both
    """Say that the process answers."""
    return json_response({"status": "ok"})


async def ready(services: Services, request: Request) -> Response:
    """Say that the process can do its work, or 503 and why not."""
    reason = services.unready()
    if reason is None:
        return json_response({"status": "ok"})
    return problem(request.scope, 503, "not-ready", reason, headers={"Retry-After": str(RETRY_SECONDS)})


async def version(services: Services, request: Request) -> Response:  # noqa: ARG001
    """Say which release runs, on what."""
    return json_response({"version": __version__, "os": platform.system().lower(), "arch": platform.machine().lower()})


async def metrics(services: Services, request: Request) -> Response:  # noqa: ARG001
    """Return every metric in Prometheus' text format."""
    return Response(generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})
