"""Which events of a request can be metered, and what is answered about those that cannot.

Owns: the list of what is wrong with a batch, and the preference by which its good events are taken nevertheless.
Limits: the first `LISTED` faults are listed with their reasons. All refused events are told as ranges of their indexes,
of which a body has few: between two of them there is an event that is good, and so is not short.
Source: docs/contract.md D.12, D.20, D.30 and "Batches"; RFC 7240 (Prefer).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.requests import Request

from api.http.problems import InvalidEvents
from engine.errors import InvalidEvent
from engine.events.cloudevents import TimeSpan, decode_event

LISTED = 1000
APPLIED = {"Preference-Applied": "handling=lenient"}
_PREFERENCE = re.compile(
    r'\s*([\w-]+)\s*(?:=\s*("(?:[^"\\]|\\.)*+"|[^\s,;"]*+))?(?:[^,"]++|"(?:[^"\\]|\\.)*+")*+(?:,|$)', re.ASCII
)
_MOST_CHARACTERS = 1000  # of preferences that are read


@dataclass(slots=True)
class Checked:
    """Events of a request. `ranges`: first and last index of those refused, in order; `problems`: the first of them."""

    total: int = 0
    good: list[bytes] = field(default_factory=list)
    ranges: list[list[int]] = field(default_factory=list)
    problems: list[dict[str, object]] = field(default_factory=list)

    @property
    def refused(self) -> int:
        """How many cannot be metered."""
        return self.total - len(self.good)

    def answer(self) -> dict[str, object]:
        """Return what became of the events where the good ones are taken."""
        return {"accepted": len(self.good), "refused": self.refused, **self._faults()}

    def error(self) -> InvalidEvents:
        """Return why the whole request is refused."""
        first = self.problems[0]
        if self.total == 1:
            return InvalidEvents(str(first["message"]), self._faults())
        listed = f", the first {LISTED} are listed" if self.refused > LISTED else ""
        message = f"{self.refused} of {self.total} events are invalid{listed}"
        return InvalidEvents(f"{message}; at index {first['index']}: {first['message']}", self._faults())

    def _faults(self) -> dict[str, object]:
        return {"refusedRanges": self.ranges, "validationErrors": self.problems}


def check_events(values: Sequence[bytes], arrived_ms: int, span: TimeSpan) -> Checked:
    """Judge events, each by itself."""
    checked = Checked(len(values))
    for index, value in enumerate(values):
        try:
            decode_event(value, arrived_ms, 0, 0, span)
        except InvalidEvent as error:
            if len(checked.problems) < LISTED:
                checked.problems.append(problem(index, error))
            if checked.ranges and checked.ranges[-1][1] == index - 1:
                checked.ranges[-1][1] = index
            else:
                checked.ranges.append([index, index])
        else:
            checked.good.append(value)
    return checked


def only_event_refused(error: InvalidEvent) -> InvalidEvents:
    """Return why a request is refused whose one event cannot be read."""
    return InvalidEvents(str(error), {"refusedRanges": [[0, 0]], "validationErrors": [problem(0, error)]})


def problem(index: int, error: InvalidEvent) -> dict[str, object]:
    """Return what is wrong with one event."""
    return {
        "index": index,
        "field": error.field,
        "code": error.code,
        "message": str(error).encode("utf-8", "replace").decode(),
        "severity": "critical",
    }


def is_lenient(request: Request) -> bool:
    """Whether the good events of a batch are to be taken though others are bad. The first preference counts."""
    for found in _PREFERENCE.finditer(", ".join(request.headers.getlist("prefer"))[:_MOST_CHARACTERS]):
        if found[1].lower() == "handling":
            return (found[2] or "").strip('"').lower() == "lenient"
    return False
