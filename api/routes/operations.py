"""What operators and orchestrators ask a process: alive, ready, which version, how much.

Source: docs/contract.md D.21.
"""

import platform
import re
from collections.abc import Iterable
from dataclasses import asdict
from enum import StrEnum

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from api.dependencies import Dependencies, in_thread
from api.http.openapi import document_json
from api.http.parameters import Parameters
from api.http.problems import RETRY_SECONDS, problem
from api.http.responses import json_response, raw_json
from engine import __version__
from engine.events.listing import events_today
from engine.health import Ability, Readiness
from engine.metrics import REGISTRY

_FRESH = {"Cache-Control": "no-store"}
_OTHERS = "Beyond query.max_values subjects the others are counted together, the subject empty."
_OPENMETRICS = "application/openmetrics-text"
_WEIGHT = re.compile(r"q=(0(\.\d{0,3})?|1(\.0{0,3})?)\Z", re.ASCII)


async def get_liveness(dependencies: Dependencies, request: Request) -> Response:  # noqa: ARG001 - every handler takes both
    """Say that the process answers."""
    return json_response({"status": "ok"})


class Asked(StrEnum):
    """What a probe wants to know of."""

    ALL = "all"
    ANY = "any"
    EVENTS = Ability.EVENTS
    QUERIES = Ability.QUERIES
    INGEST = Ability.INGEST


async def get_readiness(dependencies: Dependencies, request: Request) -> Response:
    """Say that the process can do its work, or 503 and why not."""
    asked = Parameters(request).choice("for", Asked) or Asked.ALL
    found = dependencies.readiness()
    if _suffices(asked, found):
        return json_response({"status": "ok", **({"degraded": list(found.degraded)} if found.degraded else {})})
    parts = {
        "away": [asdict(away) for away in found.away],
        "works": list(found.works),
        "degraded": list(found.degraded),
    }
    headers = {"Retry-After": str(RETRY_SECONDS)}
    return problem(request.scope, 503, "not-ready", found.reason or f"this process has no {asked}", parts, headers)


def _suffices(asked: Asked, found: Readiness) -> bool:
    match asked:
        case Asked.ALL:
            return not found.away
        case Asked.ANY:
            return bool(found.works)
        case _:
            return Ability(asked) in found.works


async def get_version(dependencies: Dependencies, request: Request) -> Response:  # noqa: ARG001
    """Say which release runs, on what."""
    return json_response({"version": __version__, "os": platform.system().lower(), "arch": platform.machine().lower()})


async def get_openapi(dependencies: Dependencies, request: Request) -> Response:  # noqa: ARG001
    """Return the OpenAPI document."""
    return raw_json(document_json())


async def get_debug_metrics(dependencies: Dependencies, request: Request) -> Response:
    """Return how many events each subject has today (UTC), in Prometheus' text format or in OpenMetrics'."""
    most = dependencies.settings.query.max_values
    counted = CounterMetricFamily("openmeter_events", f"Events of today (UTC). {_OTHERS}", labels=["subject"])
    for subject, count in await in_thread(request, lambda: events_today(dependencies.store, most, dependencies.clock)):
        counted.add_metric([subject], count)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_One(counted))
    if _wants_openmetrics(",".join(request.headers.getlist("accept"))):
        text, kind = openmetrics.generate_latest(registry), openmetrics.CONTENT_TYPE_LATEST  # type: ignore[no-untyped-call]
    else:
        text, kind = generate_latest(registry), CONTENT_TYPE_LATEST
    return Response(text, headers={"Content-Type": kind, **_FRESH})


def _wants_openmetrics(accept: str) -> bool:
    """Return whether an Accept header names the OpenMetrics format, and no other text before it."""
    weights = {"text/plain": 0.0, _OPENMETRICS: 0.0}
    for item in accept.lower().split(","):
        kind, _, parameters = item.partition(";")
        weights[kind.strip()] = _weight(parameters)
    return 0 < weights[_OPENMETRICS] >= weights["text/plain"]


def _weight(parameters: str) -> float:
    """Return the weight among the parameters of a media type: 1 without one, 0 for one that is no weight."""
    given = [parameter.strip() for parameter in parameters.split(";")]
    weight = next((parameter for parameter in given if parameter.startswith("q=")), "q=1")
    return float(weight[2:]) if _WEIGHT.match(weight) else 0


class _One(Collector):
    """A collector of one family, made for one answer."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return [self._family]


async def get_metrics(dependencies: Dependencies, request: Request) -> Response:  # noqa: ARG001
    """Return every metric in Prometheus' text format."""
    return Response(generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST, **_FRESH})
