"""What became of events that were sent.

    POST /api/v1/events/outcomes   for a list of sources and ids: stored or not, when, and what meters left out

Owns: the request and the answer. A POST, for a list that is longer than a query string; it changes nothing.
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

MOST_EVENTS = 50_000


class NamedEvent(BaseModel):
    """Which event is meant. Other members are ignored: an event as it was sent will do."""

    model_config = ConfigDict(extra="ignore")

    source: str
    id: str


class OutcomesBody(BaseModel):
    """Which events are meant, and which of them are explained."""

    model_config = ConfigDict(extra="forbid")

    events: list[NamedEvent] = Field(max_length=MOST_EVENTS)
    explain_after: JsonInstant | None = Field(default=None, alias="explainAfter")


async def list_outcomes(dependencies: Dependencies, request: Request) -> Response:
    """Say what became of each event, in the order asked."""
    body = await read_model(request, dependencies.settings.server.body_limit_bytes, OutcomesBody)
    names = [EventName(event.source, event.id) for event in body.events]
    after_ms = None if body.explain_after is None else body.explain_after.nanos // 1_000_000

    def ask() -> dict[str, object]:
        newest_ms = newest_stamp(dependencies.store)  # before the events: none of them is said to be newer than it is
        found = event_outcomes(dependencies.store, dependencies.registry, names, after_ms)
        newest = {} if newest_ms is None else {"newestStoredAt": _text(newest_ms)}
        return {**newest, "events": [_outcome(*pair) for pair in zip(names, found, strict=True)]}

    return json_response(await in_thread(request, ask))


def _outcome(name: EventName, outcome: Outcome) -> dict[str, object]:
    stored_ms, error = outcome
    return {
        "source": name.source,
        "id": name.id,
        "stored": stored_ms is not None,
        **({} if stored_ms is None else {"storedAt": _text(stored_ms)}),
        **({} if error is None else {"validationError": error}),
    }


@lru_cache(maxsize=1024)  # the events of a batch have one stamp
def _text(unix_ms: int) -> str:
    return Instant(unix_ms * 1_000_000).text
