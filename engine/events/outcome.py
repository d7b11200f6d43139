"""The name of an event, and whether it was stored and counted."""

from typing import NamedTuple


class EventName(NamedTuple):
    """The identity of an event. Within the duplicate window, at most one event with this source and id is stored."""

    source: str
    id: str


class Outcome(NamedTuple):
    """Whether an event was stored and counted. `stored_ms`: Unix milliseconds; None if no such event is stored.

    `validation_error`: one line for each meter of its type that did not count it, with the reason. None: all meters
    counted it, or the reasons were not asked for.
    """

    stored_ms: int | None = None
    validation_error: str | None = None
