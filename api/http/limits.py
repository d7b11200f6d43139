"""Rate limits: each holder has a bucket with one minute's worth of requests, which refills evenly over a minute.

Owns: the buckets, one per holder, of this process only. A holder is a token id, or an address that sends wrong keys.
Limits: a full bucket is not kept, because an unknown holder has a full bucket anyway. So memory holds only the holders
of the last minute, and at most the MAX_BUCKETS latest of them.
Source: docs/contract.md "Requests"; the generic cell rate algorithm, which needs one number per bucket.
"""

import math
from collections import OrderedDict

from engine.errors import TooManyRequests

MAX_BUCKETS = 100_000  # About 20 MB; the least recently used bucket is dropped first.
_MINUTE = 60.0


class RequestLimit:
    """A limit on requests per holder. Not thread-safe: used on the event loop only.

    Args: per_minute: the limit; None means no limit. max_buckets: how many holders are remembered. refusal: the error
        message for a request over the limit.
    """

    def __init__(
        self, per_minute: int | None, max_buckets: int = MAX_BUCKETS, refusal: str = "the token made too many requests"
    ) -> None:
        self._refusal = refusal
        self._interval = _MINUTE / per_minute if per_minute else 0.0
        self._max_buckets = max_buckets
        # When each bucket is full again; the most recently used bucket is last.
        self._full_times: OrderedDict[str, float] = OrderedDict()

    def take(self, holder: str, now: float) -> None:
        """Count one request of a holder. Args: now: seconds of a monotonic clock.

        Raises: TooManyRequests: the limit is reached. The error holds the number of seconds to wait.
        """
        if not self._interval:
            return
        full_time = max(self._full_times.pop(holder, now), now) + self._interval
        over = full_time - now - _MINUTE
        if over > _MINUTE * 1e-9:  # more than a rounding error
            self._keep(holder, full_time - self._interval, now)
            raise TooManyRequests(self._refusal, math.ceil(over))
        self._keep(holder, full_time, now)

    def __len__(self) -> int:
        return len(self._full_times)

    def _keep(self, holder: str, full_time: float, now: float) -> None:
        self._full_times[holder] = full_time
        while self._full_times and (
            len(self._full_times) > self._max_buckets or next(iter(self._full_times.values())) <= now
        ):
            self._full_times.popitem(last=False)
