"""Events: they are ingested and listed.

    POST /api/v1/events   answers 204 when the events are durable in the event log; by default, a batch with one
                          invalid event is refused as a whole
    GET  /api/v1/events   lists events, newest first
    GET  /api/v2/events   lists events by filters, newest first, page by page

Owns: the content modes of the CloudEvents HTTP binding. The content type selects the mode; if it is not a type of
CloudEvents, the `ce-` headers do (engine/events/http.py).
Decoding needs CPU time and runs in threads apart from those of queries, so that slow queries never delay ingest.
Source: docs/contract.md D.12, D.13, D.20 and "Events"; docs/design.md R3 (durable before it is acknowledged).
"""

import asyncio
from collections.abc import Callable

import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api.dependencies import Dependencies, in_thread
from api.http.bodies import JSON, media_type, other_media_type, read_body
from api.http.event_validation import (
    PREFERENCE_APPLIED,
    ValidatedEvents,
    is_lenient,
    only_event_refused,
    validate_events,
)
from api.http.parameters import Parameters
from api.http.problems import InvalidParameter
from api.http.responses import json_response, no_content, raw_json
from engine import tracing
from engine.errors import InvalidEvent
from engine.events import listing
from engine.events.cloudevents import TimeSpan, split_batch
from engine.events.http import binary_event, has_attributes
from engine.events.listing import EventFilter, EventSearch, search_filters, to_json
from engine.events.media_types import BATCH, SINGLE
from engine.events.unreadable import why_not_json
from engine.instants import milliseconds
from engine.listings.log_position import parse_cursor
from engine.metrics import EVENTS_ACCEPTED

_BODY_REQUIRED = frozenset({SINGLE, BATCH})
_WHITESPACE = b" \t\r\n"
_CLOUDEVENTS_PREFIX = "application/cloudevents"
_THREAD_BYTES = 16_384  # A smaller body is decoded in less time than it takes to hand it to a thread.


async def ingest_events(dependencies: Dependencies, request: Request) -> Response:
    """Make the events of a request durable. If some are invalid, none is accepted, or only the valid ones if preferred.

    Raises: InvalidEvents, InvalidEvent, InvalidParameter, TooLarge.
    """
    split = _event_splitter(request)
    body = await read_body(request, dependencies.settings.server.body_limit_bytes)
    if media_type(request) in _BODY_REQUIRED and not body.strip(_WHITESPACE):
        raise InvalidEvent("the body is empty")
    arrived_ms = milliseconds(dependencies.clock())
    span = TimeSpan.of(dependencies.settings.ingest)

    def validate() -> ValidatedEvents:
        return validate_events(split(body), arrived_ms, span)

    validated = validate() if len(body) < _THREAD_BYTES else await anyio.to_thread.run_sync(validate)
    lenient = is_lenient(request)
    if validated.refused and not (lenient and validated.accepted):
        raise validated.error()
    if validated.accepted:
        # Shielded: other requests share the commit of this append, so a disconnected client must not cancel it.
        kafka = dependencies.settings.kafka
        with tracing.spans.append(kafka.topic if kafka.brokers else None, len(validated.accepted)):
            await asyncio.shield(asyncio.wrap_future(dependencies.appender.append(validated.accepted, arrived_ms)))
        EVENTS_ACCEPTED.inc(len(validated.accepted))
    return json_response(validated.answer(), headers=PREFERENCE_APPLIED) if lenient else no_content()


def _event_splitter(request: Request) -> Callable[[bytes], list[bytes]]:
    """Return the function that splits the body of a request into events.

    Raises: InvalidParameter: the content type is not one of events.
    """
    kind = media_type(request)
    if kind == SINGLE:
        return lambda body: [body]
    if kind == BATCH:
        return split_batch
    if has_attributes(request.headers.raw) and not kind.startswith(_CLOUDEVENTS_PREFIX):
        return lambda body: [_binary(request, body)]
    if kind != JSON:
        raise other_media_type(request)
    return _json_events


def _binary(request: Request, body: bytes) -> bytes:
    try:
        return binary_event(request.headers.raw, body)
    except InvalidEvent as error:
        raise only_event_refused(error) from None


def _json_events(body: bytes) -> list[bytes]:
    match body.lstrip(_WHITESPACE)[:1]:
        case b"{":
            return [body]
        case b"[":
            values = split_batch(body)
        case _:
            values = _json_without_events(body)
    if not values:
        raise InvalidEvent("no events found")
    return values


def _json_without_events(body: bytes) -> list[bytes]:
    try:
        msgspec.json.decode(body or b"null")
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidEvent(f"not JSON: {why_not_json(body, error)}") from None
    return []


async def list_events(dependencies: Dependencies, request: Request) -> Response:
    """List events, newest first."""
    bounds = ("from", "to", "ingestedAtFrom", "ingestedAtTo")
    query = Parameters(request)
    query.text("clientId", most=36)
    if query.list("customerId"):
        raise InvalidParameter('parameter "customerId" is not supported')
    from_, to, ingested_from, ingested_to = (query.instant(name) for name in bounds)
    filter_ = EventFilter(
        id_contains=query.text("id"),
        subject=query.text("subject"),
        from_=from_,
        to=to,
        ingested_from=ingested_from,
        ingested_to=ingested_to,
        limit=query.integer("limit", 100, 1, 100),
    )

    def ask() -> bytes:
        found = listing.list_events(
            dependencies.store, dependencies.registry, filter_, dependencies.settings.query, dependencies.clock
        )
        return b"[" + b",".join(to_json(event) for event in found) + b"]"

    return raw_json(await in_thread(request, ask))


async def search_events(dependencies: Dependencies, request: Request) -> Response:
    """List events that pass the filters, newest first; a full page has the cursor of the next one."""
    query = Parameters(request)
    query.text("clientId", most=36)
    limit, cursor = query.integer("limit", 100, 1, 100), query.text("cursor")
    body = query.json("filter") or {}
    if "customerId" in body:
        raise InvalidParameter('parameter "filter": customerId is not supported')
    search = EventSearch(search_filters(body), None if cursor is None else parse_cursor(cursor), limit)

    def ask() -> bytes:
        found = listing.search_events(
            dependencies.store, dependencies.registry, search, dependencies.settings.query, dependencies.clock
        )
        more = b',"nextCursor":"%b"' % found[-1].position.cursor.encode() if len(found) == limit else b""
        return b'{"items":[' + b",".join(to_json(event) for event in found) + b"]" + more + b"}"

    return raw_json(await in_thread(request, ask))
