"""A partition that this process has, and where it is with it.

Owns: `Share`. The log (ingest/kafka/log.py) changes it while it reads, plans and acknowledges, the comparison with the
store (ingest/kafka/comparison.py) when a partition was assigned or the topic has nothing at its place.
"""

from dataclasses import dataclass

from ingest.log import Plan


@dataclass(slots=True)
class Share:
    """A partition of ours.

    `planned`: where planning goes on; `seen`: where reading does; `end`: the topic's end, once it was reached; `asked`:
    the same as the brokers say it while nobody reads.
    `inherited`: its plan is of another process, or of ours before the partition went and came back: to be run again.
    `astray`: the topic has nothing at `seen`.
    """

    planned: int
    acknowledged: int
    plan: Plan | None
    seen: int
    inherited: bool
    end: int = -1
    asked: int = -1
    astray: bool = False

    @property
    def drained(self) -> bool:
        return self.end >= self.seen and not self.astray
