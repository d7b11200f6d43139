"""The outcome of events that were sent.

    POST /api/v1/events/outcomes   for a list of sources and ids: whether and when each event was stored, and which
                                   meters could not count it

Owns: the request and the answer. The request is a POST because the list is too long for a query string; it changes
nothing.
Source: docs/contract.md 3.7.
"""

from functools import lru_cache

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from api.dependencies import Dependencies, in_thread
from api.http.bodies import JsonInstant, read_model
from api.http.responses import json_response
from engine.events.outcome import EventName, Outcome
from engine.events.outcomes import event_outcomes, newest_stamp
from engine.instants import Instant

MAX_EVENTS = 50_000


class NamedEvent(BaseModel):
    """The source and id of an event. Other members are ignored, so that an event can be given as it was sent."""

    model_config = ConfigDict(extra="ignore")

    source: str
    id: str


class OutcomesBody(BaseModel):
    """The events, and from when on they are explained."""

    model_config = ConfigDict(extra="forbid")

    events: list[NamedEvent] = Field(max_length=MAX_EVENTS)
    explain_after: JsonInstant | None = Field(default=None, alias="explainAfter")


async def list_outcomes(dependencies: Dependencies, request: Request) -> Response:
    """Return the outcome of each event, in the order of the request."""
    body = await read_model(request, dependencies.settings.server.body_limit_bytes, OutcomesBody)
    names = [EventName(event.source, event.id) for event in body.events]
    after_ms = None if body.explain_after is None else body.explain_after.nanos // 1_000_000

    def ask() -> dict[str, object]:
        newest_ms = newest_stamp(dependencies.store)  # Read first: events stored in between are later than it.
        found = event_outcomes(dependencies.store, dependencies.registry, names, after_ms)
        newest = {} if newest_ms is None else {"newestStoredAt": _timestamp(newest_ms)}
        return {**newest, "events": [_outcome(*pair) for pair in zip(names, found, strict=True)]}

    return json_response(await in_thread(request, ask))


def _outcome(name: EventName, outcome: Outcome) -> dict[str, object]:
    stored_ms, error = outcome
    return {
        "source": name.source,
        "id": name.id,
        "stored": stored_ms is not None,
        **({} if stored_ms is None else {"storedAt": _timestamp(stored_ms)}),
        **({} if error is None else {"validationError": error}),
    }


@lru_cache(maxsize=1024)  # All events of a batch have the same timestamp.
def _timestamp(unix_ms: int) -> str:
    return Instant(unix_ms * 1_000_000).text
