"""The port through which the API appends events, without knowing which event log accepts them."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol


class EventAppender(Protocol):
    """An event log, as the API sees it: it makes events durable before the producer gets a 204."""

    def append(self, values: Sequence[bytes], arrived_ms: int) -> "Future[None]":
        """Append structured-mode CloudEvents, either all of them or none.

        The call returns at once. The future completes when all events are durable, and fails with LogUnavailable if
        they are not.
        Args: values: the JSON text of each event. arrived_ms: Unix milliseconds; the time of an event that has none.
        Raises: LogFull: nothing was appended.
        """
        ...
