"""Whether a transfer goes on: the bytes of a body that are there, or those of an answer that are not read."""

BYTES_A_SECOND = 256  # what a client must come to: the slowest mobile network is faster


class Pace:
    """Seconds for which a transfer has stood still. It is looked at now and then, so that bytes cost nothing."""

    __slots__ = ("_count", "_since")

    def __init__(self) -> None:
        self._count: int | None = None
        self._since = 0.0

    def restart(self) -> None:
        """Begin again: the next count is the first."""
        self._count = None

    def still(self, count: int, now: float, least: int = 1) -> float:
        """Return for how many seconds a count has not grown by `least`. One that became smaller began again."""
        last = self._count
        if last is None or not last <= count < last + least:
            self._count, self._since = count, now
        return now - self._since
