"""The HTTP application as a value: the table of routes, who guards each, and the layers around them.

    request ─▶ PortalCors ─▶ Telemetry ─▶ OneHost ─▶ problems ─▶ route ─▶ guard ─▶ handler ─▶ engine, in a thread

Owns: which path leads where. Every route is in one of three groups: open, managed (API key), portal (portal token).
Source: docs/contract.md.
"""

from dataclasses import replace
from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from api.dependencies import Dependencies, share_store
from api.http import auth
from api.http.cors import PortalCors
from api.http.hosts import OneHost
from api.http.limits import RequestLimit
from api.http.problems import HANDLERS
from api.http.routing import resource
from api.http.telemetry import Telemetry
from api.routes import dead_letters, duplicates, events, meters, operations, outcomes, pages, portal, subjects, usage
from api.routes import group_values as values

__all__ = ["create_app", "create_telemetry_app"]

PORTAL_METERS = "/api/v1/portal/meters"
PORTAL_SUBJECT = "/api/v1/portal/subject"
WRONG_KEY_ADDRESSES = 10_000  # that are kept, some 2 MB


def create_app(services: Dependencies) -> Starlette:
    """Return the application of the main port; what it asks of the store may take so long and no longer."""
    services = replace(services, store=services.store.limited(services.settings.query.timeout_seconds))
    origins = services.settings.server.cors_origins
    cors = [Middleware(PortalCors, prefix=prefix, origins=origins) for prefix in (PORTAL_METERS, PORTAL_SUBJECT)]
    return _application(services, [*_open(services), *_managed(services), *_portal(services)], cors)


def create_telemetry_app(services: Dependencies) -> Starlette:
    """Return the application of the telemetry port: no key is asked for."""
    metrics = resource("/metrics", GET=auth.unguarded(services, operations.metrics))
    return _application(services, [*_probes(services), metrics], [])


def _application(services: Dependencies, routes: list[Route], outer: list[Middleware]) -> Starlette:
    layers = [*outer, Middleware(Telemetry), Middleware(OneHost)]
    app = Starlette(routes=routes, middleware=layers, exception_handlers=HANDLERS)
    app.router.redirect_slashes = False
    share_store(app, services.settings)
    return app


def _probes(services: Dependencies) -> list[Route]:
    open_ = partial(auth.unguarded, services)
    return [
        resource("/livez", GET=open_(operations.alive)),
        resource("/readyz", GET=open_(operations.ready)),
    ]


def _open(services: Dependencies) -> list[Route]:
    open_ = partial(auth.unguarded, services)
    return [
        *_probes(services),
        resource("/version", GET=open_(operations.version)),
        resource("/openapi.json", GET=open_(operations.openapi)),
        resource("/portal", GET=open_(pages.portal_page)),
        resource("/portal/{file}", GET=open_(pages.portal_file)),
    ]


def _managed(services: Dependencies) -> list[Route]:
    per_minute = services.settings.server.wrong_keys_per_minute
    wrong_keys = RequestLimit(per_minute, WRONG_KEY_ADDRESSES, "too many requests with a wrong key")
    managed = partial(auth.managed, services, wrong_keys)
    meter = "/api/v1/meters/{meter}"
    return [
        resource("/metrics", GET=managed(operations.metrics)),
        resource("/api/v1/events", GET=managed(events.listed), POST=managed(events.ingest)),
        resource("/api/v1/events/outcomes", POST=managed(outcomes.outcomes)),
        resource("/api/v2/events", GET=managed(events.searched)),
        resource("/api/v1/debug/metrics", GET=managed(operations.debug_metrics)),
        resource("/api/v1/duplicates", GET=managed(duplicates.listed)),
        resource("/api/v1/dead-letters", GET=managed(dead_letters.listed)),
        resource("/api/v1/dead-letters/replay", POST=managed(dead_letters.replayed)),
        resource("/api/v1/meters", GET=managed(meters.listed), POST=managed(meters.create)),
        resource(meter, GET=managed(meters.show), PUT=managed(meters.change), DELETE=managed(meters.delete)),
        resource(f"{meter}/query", GET=managed(usage.query_get), POST=managed(usage.query_post)),
        resource(f"{meter}/subjects", GET=managed(values.subjects)),
        resource(f"{meter}/group-by/{{key}}/values", GET=managed(values.group_by_values)),
        resource("/api/v1/subjects", GET=managed(subjects.listed), POST=managed(subjects.upsert)),
        # A subject's key may hold slashes.
        resource("/api/v1/subjects/{subject:path}", GET=managed(subjects.show), DELETE=managed(subjects.delete)),
        resource("/api/v1/portal/tokens", GET=managed(portal.list_tokens), POST=managed(portal.create_token)),
        resource("/api/v1/portal/tokens/invalidate", POST=managed(portal.invalidate_tokens)),
    ]


def _portal(services: Dependencies) -> list[Route]:
    guarded = partial(auth.portal, services, RequestLimit(services.settings.portal.requests_per_minute))
    meter = f"{PORTAL_METERS}/{{slug}}"
    return [
        resource(PORTAL_METERS, GET=guarded(portal.list_meters)),
        resource(PORTAL_SUBJECT, GET=guarded(portal.show_subject)),
        resource(f"{meter}/query", GET=guarded(usage.portal_query_get), POST=guarded(usage.portal_query_post)),
        resource(f"{meter}/group-by/{{key}}/values", GET=guarded(values.portal_group_by_values)),
    ]
