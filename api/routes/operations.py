"""Routes for operators and orchestrators: liveness, readiness, version, OpenAPI document and metrics.

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
from engine.events.listing import count_events_today
from engine.health import Ability, Readiness
from engine.metrics import REGISTRY

_NO_STORE = {"Cache-Control": "no-store"}
_OTHERS = "Beyond query.max_values subjects the others are counted together under an empty subject."
_OPENMETRICS = "application/openmetrics-text"
_WEIGHT = re.compile(r"q=(0(\.\d{0,3})?|1(\.0{0,3})?)\Z", re.ASCII)


async def get_liveness(dependencies: Dependencies, request: Request) -> Response:  # noqa: ARG001 - all handlers have both parameters
    """Report that the process answers."""
    return json_response({"status": "ok"})


class Probe(StrEnum):
    """What a readiness probe asks for."""

    ALL = "all"
    ANY = "any"
    EVENTS = Ability.EVENTS
    QUERIES = Ability.QUERIES
    INGEST = Ability.INGEST


async def get_readiness(dependencies: Dependencies, request: Request) -> Response:
    """Report that the process can do its work; otherwise answer 503 with the reason."""
    return readiness_response(request, dependencies.readiness())


def readiness_response(request: Request, readiness: Readiness) -> Response:
    """Return the answer to a readiness probe of a process in this state."""
    probe = Parameters(request).choice("for", Probe) or Probe.ALL
    if _is_ready(probe, readiness):
        return json_response({"status": "ok", **({"degraded": list(readiness.degraded)} if readiness.degraded else {})})
    return not_ready(request, readiness, readiness.reason or f"this process does not provide {probe}")


def not_ready(request: Request, readiness: Readiness, detail: str) -> Response:
    """Return 503 with what is away."""
    parts = {
        "away": [asdict(away) for away in readiness.away],
        "works": list(readiness.works),
        "degraded": list(readiness.degraded),
    }
    headers = {"Retry-After": str(RETRY_SECONDS)}
    return problem(request.scope, 503, "not-ready", detail, parts, headers)


def _is_ready(probe: Probe, readiness: Readiness) -> bool:
    match probe:
        case Probe.ALL:
            return not readiness.away
        case Probe.ANY:
            return bool(readiness.works)
        case _:
            return Ability(probe) in readiness.works


async def get_version(dependencies: Dependencies, request: Request) -> Response:  # noqa: ARG001
    """Return the running release, the operating system and the architecture."""
    return json_response({"version": __version__, "os": platform.system().lower(), "arch": platform.machine().lower()})


async def get_openapi(dependencies: Dependencies, request: Request) -> Response:  # noqa: ARG001
    """Return the OpenAPI document."""
    return raw_json(document_json())


async def get_debug_metrics(dependencies: Dependencies, request: Request) -> Response:
    """Return how many events each subject has today (UTC), in the text format of Prometheus or of OpenMetrics."""
    most = dependencies.settings.query.max_values
    counted = CounterMetricFamily("openmeter_events", f"Events of today (UTC). {_OTHERS}", labels=["subject"])
    for subject, count in await in_thread(
        request, lambda: count_events_today(dependencies.store, most, dependencies.clock)
    ):
        counted.add_metric([subject], count)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_SingleFamily(counted))
    if _wants_openmetrics(",".join(request.headers.getlist("accept"))):
        text, kind = openmetrics.generate_latest(registry), openmetrics.CONTENT_TYPE_LATEST  # type: ignore[no-untyped-call]
    else:
        text, kind = generate_latest(registry), CONTENT_TYPE_LATEST
    return Response(text, headers={"Content-Type": kind, **_NO_STORE})


def _wants_openmetrics(accept: str) -> bool:
    """Return whether an Accept header names the OpenMetrics format with at least the weight of text/plain."""
    weights = {"text/plain": 0.0, _OPENMETRICS: 0.0}
    for item in accept.lower().split(","):
        kind, _, parameters = item.partition(";")
        weights[kind.strip()] = _weight(parameters)
    return 0 < weights[_OPENMETRICS] >= weights["text/plain"]


def _weight(parameters: str) -> float:
    """Return the weight among the parameters of a media type: 1 if there is none, 0 if it is invalid."""
    given = [parameter.strip() for parameter in parameters.split(";")]
    weight = next((parameter for parameter in given if parameter.startswith("q=")), "q=1")
    return float(weight[2:]) if _WEIGHT.match(weight) else 0


class _SingleFamily(Collector):
    """A collector of one metric family, created for one answer."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return [self._family]


async def get_metrics(dependencies: Dependencies, request: Request) -> Response:  # noqa: ARG001
    """Return every metric in Prometheus' text format."""
    return metrics_response()


def metrics_response() -> Response:
    """Return the answer to a scrape."""
    return Response(generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST, **_NO_STORE})
