"""The check whether the timestamp of a record can be the time at which it arrived.

A Kafka record carries a time from its producer's clock (CreateTime) or from its broker's clock (LogAppendTime), or no
time (-1). A timestamp in seconds, microseconds or nanoseconds instead of milliseconds, or from a clock that was never
set, is wrong by decades. Such a timestamp is not taken as the arrival; the clock of this process replaces it.
Source: docs/contract.md 3.5; Kafka "message.timestamp.type", "message.timestamp.after.max.ms".
"""

# 2011-01-01: Kafka was published in that year, so no topic contains an older record.
EARLIEST_CREDIBLE_MS = 1_293_840_000_000
MAX_AHEAD_MS = 3_600_000  # how far another clock may be ahead of this one; the same as Kafka's default


def is_credible(claimed_ms: int, clock_ms: int) -> bool:
    """Return whether a record that exists at `clock_ms` can have arrived at `claimed_ms` (Unix milliseconds)."""
    return EARLIEST_CREDIBLE_MS <= claimed_ms <= clock_ms + MAX_AHEAD_MS
