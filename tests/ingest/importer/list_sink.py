"""A sink for the tests of an import. It keeps the events in a list instead of storing them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from engine.errors import TooLarge
from engine.events.outcome import EventName, Outcome


class ListSink:
    """Accepts events as the API does: a whole batch or nothing. `refuse` returns why an event is refused, or None."""

    def __init__(
        self, refuse: Callable[[dict[str, Any]], str | None] = lambda _: None, most_bytes: int = 1 << 30
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self.batches: list[int] = []
        self._refuse = refuse
        self._most_bytes = most_bytes

    def send_events(self, events: Sequence[bytes]) -> Mapping[int, str]:
        if sum(map(len, events)) > self._most_bytes:
            raise TooLarge("too large")
        decoded = [orjson.loads(event) for event in events]
        reasons = {index: reason for index, event in enumerate(decoded) if (reason := self._refuse(event))}
        if not reasons:
            self.events += decoded
            self.batches.append(len(events))
        return reasons

    def wait_until_stored(self, on_wait: Callable[[int], None]) -> None:
        on_wait(0)

    def newest_stamp(self) -> int | None:
        return None

    def outcomes(self, names: Sequence[EventName], explain_after_ms: int) -> list[Outcome]:
        sent = {(event["source"], event["id"]) for event in self.events}
        return [Outcome(explain_after_ms + 1 if name in sent else None) for name in names]

    @property
    def ids(self) -> list[str]:
        return [event["id"] for event in self.events]
