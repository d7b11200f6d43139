"""The HTTP application: the table of routes, the guard of each route, and the middleware around them.

    request ─▶ Draining ─▶ PortalCors ─▶ Telemetry ─▶ HostCheck ─▶ problems ─▶ route ─▶ guard ─▶ handler
    handler ─▶ engine, in a thread

Owns: which handler answers which path. Every route belongs to one of three groups: open (no guard), managed (guarded
by API keys; the table says which scope a key needs) or portal (guarded by a portal token).
Source: docs/contract.md.
"""

from dataclasses import replace
from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from api.dependencies import Dependencies, share_store
from api.http import auth
from api.http.cors import PORTAL_METERS, PORTAL_SUBJECT, portal_cors
from api.http.draining import Draining
from api.http.host_header import HostCheck
from api.http.limits import RequestLimit
from api.http.problems import HANDLERS
from api.http.routing import resource
from api.http.telemetry import Telemetry
from api.routes import (
    dead_letters,
    differing_duplicates,
    events,
    group_values,
    meters,
    operations,
    outcomes,
    portal,
    portal_page,
    subjects,
    usage,
)
from engine.config.api_keys import Scope

__all__ = ["create_app", "create_telemetry_app"]

MAX_WRONG_KEY_ADDRESSES = 10_000  # Addresses that used a wrong key and are remembered: about 2 MB.


def create_app(dependencies: Dependencies) -> Starlette:
    """Return the application of the main port; each of its queries is limited to `query.timeout_seconds`."""
    dependencies = replace(
        dependencies, store=dependencies.store.with_timeout(dependencies.settings.query.timeout_seconds)
    )
    cors = portal_cors(dependencies.settings.server.cors_origins)
    return _application(dependencies, [*_open(dependencies), *_managed(dependencies), *_portal(dependencies)], cors)


def create_telemetry_app(dependencies: Dependencies) -> Starlette:
    """Return the application of the telemetry port, which needs no API key."""
    metrics = resource("/metrics", GET=auth.unguarded(dependencies, operations.get_metrics))
    return _application(dependencies, [*_probes(dependencies), metrics], [])


def _application(dependencies: Dependencies, routes: list[Route], outer: list[Middleware]) -> Starlette:
    draining = Middleware(Draining, stopping=dependencies.stopping)
    layers = [draining, *outer, Middleware(Telemetry), Middleware(HostCheck)]
    app = Starlette(routes=routes, middleware=layers, exception_handlers=HANDLERS)
    app.router.redirect_slashes = False
    share_store(app, dependencies.settings)
    return app


def _probes(dependencies: Dependencies) -> list[Route]:
    open_ = partial(auth.unguarded, dependencies)
    return [
        resource("/livez", GET=open_(operations.get_liveness)),
        resource("/readyz", GET=open_(operations.get_readiness)),
    ]


def _open(dependencies: Dependencies) -> list[Route]:
    open_ = partial(auth.unguarded, dependencies)
    return [
        *_probes(dependencies),
        resource("/version", GET=open_(operations.get_version)),
        resource("/openapi.json", GET=open_(operations.get_openapi)),
        resource("/portal", GET=open_(portal_page.get_portal_page)),
        resource("/portal/{file}", GET=open_(portal_page.get_portal_file)),
    ]


def _managed(dependencies: Dependencies) -> list[Route]:
    per_minute = dependencies.settings.server.wrong_keys_per_minute
    wrong_keys = RequestLimit(per_minute, MAX_WRONG_KEY_ADDRESSES, "too many requests with a wrong key")
    auth.count_from_zero(dependencies.settings.management_keys)
    managed = partial(auth.managed, dependencies, wrong_keys)
    ingest, query = partial(managed, Scope.INGEST), partial(managed, Scope.QUERY)
    tokens, admin = partial(managed, Scope.TOKENS), partial(managed, Scope.ADMIN)
    meter = "/api/v1/meters/{meter}"
    return [
        resource("/metrics", GET=admin(operations.get_metrics)),
        resource("/api/v1/events", GET=query(events.list_events), POST=ingest(events.ingest_events)),
        # It says which event ids exist, and quotes values of events that no meter could count.
        resource("/api/v1/events/outcomes", POST=query(outcomes.list_outcomes)),
        resource("/api/v2/events", GET=query(events.search_events)),
        resource("/api/v1/debug/metrics", GET=admin(operations.get_debug_metrics)),
        resource("/api/v1/duplicates", GET=admin(differing_duplicates.list_duplicates)),
        resource("/api/v1/dead-letters", GET=admin(dead_letters.list_dead_letters)),
        resource("/api/v1/dead-letters/replay", POST=admin(dead_letters.replay_dead_letters)),
        resource("/api/v1/meters", GET=query(meters.list_meters), POST=admin(meters.create_meter)),
        resource(meter, GET=query(meters.get_meter), PUT=admin(meters.update_meter), DELETE=admin(meters.delete_meter)),
        resource(f"{meter}/query", GET=query(usage.query_by_get), POST=query(usage.query_by_post)),
        resource(f"{meter}/subjects", GET=query(group_values.list_subjects)),
        resource(f"{meter}/group-by/{{key}}/values", GET=query(group_values.list_group_values)),
        resource("/api/v1/subjects", GET=query(subjects.list_subjects), POST=admin(subjects.upsert_subjects)),
        # A subject's key may contain slashes.
        resource(
            "/api/v1/subjects/{subject:path}", GET=query(subjects.get_subject), DELETE=admin(subjects.delete_subject)
        ),
        resource("/api/v1/portal/tokens", GET=tokens(portal.list_tokens), POST=tokens(portal.create_token)),
        resource("/api/v1/portal/tokens/invalidate", POST=tokens(portal.invalidate_tokens)),
    ]


def _portal(dependencies: Dependencies) -> list[Route]:
    guarded = partial(auth.portal, dependencies, RequestLimit(dependencies.settings.portal.requests_per_minute))
    meter = f"{PORTAL_METERS}/{{slug}}"
    return [
        resource(PORTAL_METERS, GET=guarded(portal.list_meters)),
        resource(PORTAL_SUBJECT, GET=guarded(portal.get_subject)),
        resource(f"{meter}/query", GET=guarded(usage.query_portal_by_get), POST=guarded(usage.query_portal_by_post)),
        resource(f"{meter}/group-by/{{key}}/values", GET=guarded(group_values.list_portal_group_values)),
    ]
