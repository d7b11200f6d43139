"""A partition that this process has, and where it is with it.

The log (ingest/kafka/log.py) changes it while it reads, plans and acknowledges, the comparison with the store
(ingest/kafka/comparison.py) when a partition was assigned or the topic has nothing at its place.
"""

import time
from dataclasses import dataclass, field

from ingest.event_log import DeadLetterRun, Plan


@dataclass(slots=True)
class AssignedPartition:
    """A partition of ours.

    `planned`: where planning goes on; `seen`: where reading does; `end`: the topic's end, once it was reached; `asked`:
    the same as the brokers say it while nobody reads.
    `inherited`: its plan is of another process, or of ours before the partition went and came back: to be run again.
    `astray`: the topic has nothing at `seen`.
    `run`: too many records in a row are no events, and nothing is read from its first one on.
    `heard_at`: when the brokers last said something of the partition, in monotonic seconds.
    """

    planned: int
    acknowledged: int
    plan: Plan | None
    seen: int
    inherited: bool
    end: int = -1
    asked: int = -1
    astray: bool = False
    run: DeadLetterRun | None = None
    heard_at: float = field(default_factory=time.monotonic)

    @property
    def drained(self) -> bool:
        """Whether it was read to its end."""
        return self.end >= self.seen and not self.astray and self.run is None

    @property
    def is_read(self) -> bool:
        """Whether more may come of it: it is not read to its end, and not held."""
        return not self.drained and self.run is None
