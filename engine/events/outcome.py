"""The name of an event, and what became of it."""

from typing import NamedTuple


class EventName(NamedTuple):
    """What makes an event itself: no two are stored with both within the duplicate window."""

    source: str
    id: str


class Outcome(NamedTuple):
    """What became of an event. `stored_ms`: None: none is stored.

    `validation_error`: why meters of its type did not count it, a line each; None: all did, or it was not asked.
    """

    stored_ms: int | None = None
    validation_error: str | None = None
