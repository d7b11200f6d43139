"""When a record arrived: what its timestamp claims, as far as that can be true.

A Kafka record carries the clock of its producer (CreateTime) or of its broker (LogAppendTime), or no instant at all
(-1). Seconds, microseconds and nanoseconds written for milliseconds, and clocks that were never set, lie decades off:
such a timestamp is no arrival, and our own clock is taken instead.
Source: docs/contract.md 3.5; Kafka "message.timestamp.type", "message.timestamp.after.max.ms".
"""

EARLIEST_MS = 1_293_840_000_000  # 2011-01-01: Kafka was published in that year, so no topic has an older record
AHEAD_MS = 3_600_000  # how far another clock may be ahead of ours: Kafka's own default


def is_credible(claimed_ms: int, clock_ms: int) -> bool:
    """Whether a record can have arrived when its timestamp says, given that it is there at `clock_ms`."""
    return EARLIEST_MS <= claimed_ms <= clock_ms + AHEAD_MS
