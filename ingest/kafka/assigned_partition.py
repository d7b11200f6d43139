"""The state of one partition that the group has assigned to this process.

The log (ingest/kafka/log.py) changes it while it reads, plans and acknowledges. The comparison with the store
(ingest/kafka/position_check.py) changes it when a partition was assigned, or when its offset is out of the topic's
range.
"""

import time
from dataclasses import dataclass, field

from ingest.event_log import DeadLetterRun, Plan


@dataclass(slots=True)
class AssignedPartition:
    """A partition that is assigned to this process.

    `planned_to`: the offset where planning continues; `acknowledged_to`: everything before it is acknowledged;
    `read_to`: where reading continues; `end`: the topic's end when reading reached it, else -1; `reported_end`: the end
    that the brokers reported while nothing was read, else -1.
    `plan`: the plan that the partition carries. `inherited`: the plan was made by another process, or by this one
    before the partition went and came back: it must be run again.
    `out_of_range`: the topic has nothing at `read_to`.
    `run`: the run of bad records that holds the partition: nothing is read from `run.offset` on.
    `last_heard`: when the brokers last reported anything about the partition, in monotonic seconds.
    """

    planned_to: int
    acknowledged_to: int
    plan: Plan | None
    read_to: int
    inherited: bool
    end: int = -1
    reported_end: int = -1
    out_of_range: bool = False
    run: DeadLetterRun | None = None
    last_heard: float = field(default_factory=time.monotonic)

    @property
    def at_end(self) -> bool:
        """Whether the partition was read to its end."""
        return self.end >= self.read_to and not self.out_of_range and self.run is None

    @property
    def has_more(self) -> bool:
        """Whether more records may come: the partition was not read to its end and is not held."""
        return not self.at_end and self.run is None
