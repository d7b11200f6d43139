"""Whether a transfer makes progress: the received bytes of a body, or the unread bytes of an answer."""

MIN_BYTES_PER_SECOND = 256  # The minimum speed of a client: the slowest mobile network is faster.


class Pace:
    """How long a transfer has made no progress. It is checked only now and then, so it costs nothing per byte."""

    __slots__ = ("_count", "_since")

    def __init__(self) -> None:
        self._count: int | None = None
        self._since = 0.0

    def restart(self) -> None:
        """Start again: the next count is the first one."""
        self._count = None

    def stalled_seconds(self, count: int, now: float, least: int = 1) -> float:
        """Return for how many seconds the count has not grown by `least`. A smaller count than before starts again.

        Args: count: bytes so far. now: seconds of any clock that does not go back.
        """
        last = self._count
        if last is None or not last <= count < last + least:
            self._count, self._since = count, now
        return now - self._since
