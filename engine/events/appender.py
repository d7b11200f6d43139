"""The seam through which the API hands events on without knowing which log takes them."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol


class EventAppender(Protocol):
    """Whatever makes events durable before the producer is told 204: an event log."""

    def append(self, values: Sequence[bytes], arrived_ms: int) -> "Future[None]":
        """Append structured-mode CloudEvents, each as its JSON text, all or none.

        Returns at once; the future is done when all are durable, and fails with LogUnavailable if they are not.
        Args: arrived_ms: Unix milliseconds, the time of an event that has none.
        Raises: LogFull: nothing was appended.
        """
        ...
