"""Which events of a request can be metered, and the answer about those that cannot.

Owns: the list of what is wrong with a batch, and the preference `handling=lenient`, with which the valid events of a
batch are accepted although others are invalid.
Limits: the first `MAX_LISTED` problems are listed with their reasons. All refused events are reported as ranges of
indexes. A body has few such ranges, because between two of them there is a valid event, which is not short.
Source: docs/contract.md D.12, D.20, D.30 and "Batches"; RFC 7240 (Prefer).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.requests import Request

from api.http.problems import InvalidEvents
from engine.errors import InvalidEvent
from engine.events.cloudevents import TimeSpan, decode_event

MAX_LISTED = 1000
PREFERENCE_APPLIED = {"Preference-Applied": "handling=lenient"}
_PREFERENCE = re.compile(
    r'\s*([\w-]+)\s*(?:=\s*("(?:[^"\\]|\\.)*+"|[^\s,;"]*+))?(?:[^,"]++|"(?:[^"\\]|\\.)*+")*+(?:,|$)', re.ASCII
)
_MAX_PREFERENCE_CHARACTERS = 1000  # Only so much of the Prefer headers is parsed.


@dataclass(slots=True)
class ValidatedEvents:
    """The events of a request, after validation.

    accepted: the valid events. ranges: first and last index of each range of refused events, in order. problems: what
    is wrong with the first refused events, at most MAX_LISTED.
    """

    total: int = 0
    accepted: list[bytes] = field(default_factory=list)
    ranges: list[list[int]] = field(default_factory=list)
    problems: list[dict[str, object]] = field(default_factory=list)

    @property
    def refused(self) -> int:
        """Return how many events cannot be metered."""
        return self.total - len(self.accepted)

    def answer(self) -> dict[str, object]:
        """Return the JSON of the answer to a request whose valid events are accepted."""
        return {"accepted": len(self.accepted), "refused": self.refused, **self._extensions()}

    def error(self) -> InvalidEvents:
        """Return the error with which the whole request is refused."""
        first = self.problems[0]
        if self.total == 1:
            return InvalidEvents(str(first["message"]), self._extensions())
        listed = f", the first {MAX_LISTED} are listed" if self.refused > MAX_LISTED else ""
        message = f"{self.refused} of {self.total} events are invalid{listed}"
        return InvalidEvents(f"{message}; at index {first['index']}: {first['message']}", self._extensions())

    def _extensions(self) -> dict[str, object]:
        return {"refusedRanges": self.ranges, "validationErrors": self.problems}


def validate_events(values: Sequence[bytes], arrived_ms: int, span: TimeSpan) -> ValidatedEvents:
    """Validate each event by itself.

    Args: values: the events as JSON. arrived_ms: when they arrived, in Unix milliseconds. span: which event times are
        accepted.
    """
    validated = ValidatedEvents(len(values))
    for index, value in enumerate(values):
        try:
            decode_event(value, arrived_ms, 0, 0, span)
        except InvalidEvent as error:
            if len(validated.problems) < MAX_LISTED:
                validated.problems.append(problem(index, error))
            if validated.ranges and validated.ranges[-1][1] == index - 1:
                validated.ranges[-1][1] = index
            else:
                validated.ranges.append([index, index])
        else:
            validated.accepted.append(value)
    return validated


def only_event_refused(error: InvalidEvent) -> InvalidEvents:
    """Return the error with which a request is refused if its only event is invalid."""
    return InvalidEvents(str(error), {"refusedRanges": [[0, 0]], "validationErrors": [problem(0, error)]})


def problem(index: int, error: InvalidEvent) -> dict[str, object]:
    """Return the JSON of what is wrong with one event. Args: index: its index in the batch."""
    return {
        "index": index,
        "field": error.field,
        "code": error.code,
        "message": str(error).encode("utf-8", "replace").decode(),
        "severity": "critical",
    }


def is_lenient(request: Request) -> bool:
    """Return whether a request prefers `handling=lenient`. Only the first preference named `handling` counts."""
    for found in _PREFERENCE.finditer(", ".join(request.headers.getlist("prefer"))[:_MAX_PREFERENCE_CHARACTERS]):
        if found[1].lower() == "handling":
            return (found[2] or "").strip('"').lower() == "lenient"
    return False
