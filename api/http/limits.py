"""How often one may ask: a bucket that holds a minute's requests and refills as the minute goes by.

Owns: the buckets, one a holder, in this process alone: a token id, or the address that wrong keys come from. A full
bucket is not kept: it is what a holder nobody knows has. So memory holds the holders of the last minute, and of these
the latest MOST only.
Source: docs/contract.md "Requests"; the generic cell rate algorithm, which needs one number a bucket.
"""

import math
from collections import OrderedDict

from engine.errors import TooManyRequests

MOST = 100_000  # buckets, some 20 MB; the one asked of longest ago goes first
_MINUTE = 60.0


class RequestLimit:
    """A limit on requests. Not thread-safe: asked on the event loop.

    Args: per_minute: None is no limit. refusal: what is said of a request too many.
    """

    def __init__(
        self, per_minute: int | None, most: int = MOST, refusal: str = "the token made too many requests"
    ) -> None:
        self._refusal = refusal
        self._interval = _MINUTE / per_minute if per_minute else 0.0
        self._most = most
        self._full_at: OrderedDict[str, float] = OrderedDict()  # when a bucket will be full again, by the latest asked

    def take(self, holder: str, now: float) -> None:
        """Take one request of a holder. Args: now: seconds of a clock that never goes back.

        Raises: TooManyRequests: names the seconds to wait.
        """
        if not self._interval:
            return
        full_at = max(self._full_at.pop(holder, now), now) + self._interval
        over = full_at - now - _MINUTE
        if over > _MINUTE * 1e-9:  # more than rounding
            self._keep(holder, full_at - self._interval, now)
            raise TooManyRequests(self._refusal, math.ceil(over))
        self._keep(holder, full_at, now)

    def __len__(self) -> int:
        return len(self._full_at)

    def _keep(self, holder: str, full_at: float, now: float) -> None:
        self._full_at[holder] = full_at
        while self._full_at and (len(self._full_at) > self._most or next(iter(self._full_at.values())) <= now):
            self._full_at.popitem(last=False)
