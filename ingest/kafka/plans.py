"""A plan as the metadata of committed offsets, and what such commits say about it.

Owns: the text of a plan, `Commit`, and the rule by which a plan found on one partition was made or never was.

    v1;<stored_ms>;<partition>:<start>+<records' span>,…          e.g.  v1;1764547200123;0:4711+1200,3:88+15

A plan is one commit request over all its partitions, of each range's start; stored, they move past its end. So a plan
was made if each of its partitions either carries it or has moved past its range there.
Whoever may commit to the group can write such a text, too. One that no process of ours can have written is no plan;
one whose stamp the clock does not explain is judged by what the store knows of it (ingest/consumer.py).
Limits: 4,096 bytes, a broker's default for metadata: `PLAN_PARTITIONS` ranges fit whatever the offsets.
Source: docs/design.md R6, R6c; Kafka "offset.metadata.max.bytes".
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from ingest.event_log import LATEST_STAMP_MS, Plan, Range

PLAN_PARTITIONS = 90  # of at most 45 characters each: two offsets of 19 digits, a partition of 4, a comma
_RANGE = r"\d{1,10}:\d{1,19}\+\d{1,19}"
_PLAN = re.compile(rf"v1;(\d{{1,19}});({_RANGE}(?:,{_RANGE})*)\Z", re.ASCII)
_LARGEST_PARTITION, _LARGEST_OFFSET = 2**31 - 1, 2**63 - 1


class Commit(NamedTuple):
    """What is committed for a partition. `offset`: -1 for nothing yet. `forged`: it is like a plan and is none."""

    offset: int
    plan: Plan | None
    forged: bool = False


def to_metadata(plan: Plan) -> str:
    """Return a plan as text."""
    ranges = ",".join(f"{partition}:{start}+{end - start}" for partition, start, end in plan.ranges)
    return f"v1;{plan.stored_ms};{ranges}"


def from_metadata(text: str | None) -> Plan | None:
    """Return the plan in a text, None if there is none: an acknowledged batch, or a commit of somebody else's."""
    found = _PLAN.match(text or "")
    if not found:
        return None
    ranges = []
    for text_of_range in found[2].split(","):
        partition, start, span = map(int, re.split(r"[:+]", text_of_range))
        ranges.append(Range(partition, start, start + span))
    possible = all(
        start < end <= _LARGEST_OFFSET and partition <= _LARGEST_PARTITION for partition, start, end in ranges
    )
    unique = len({range_.partition for range_ in ranges}) == len(ranges)
    possible = possible and int(found[1]) <= LATEST_STAMP_MS
    return Plan(tuple(ranges), int(found[1])) if possible and unique else None


def is_forged(text: str | None) -> bool:
    """Whether a text has the form of a plan, and no process of ours can have written it."""
    return bool(_PLAN.match(text or "")) and from_metadata(text) is None


def plan_of(text: str | None, partition: int, offset: int) -> Plan | None:
    """Return the plan committed for a partition: one whose range there begins at the committed offset.

    Metadata may have been carried along to another offset, by tools that copy groups.
    """
    plan = from_metadata(text)
    starts = plan and {range_.partition: range_.start for range_ in plan.ranges}
    return plan if starts and starts.get(partition) == offset else None


def was_made(plan: Plan, commits: Mapping[int, Commit]) -> bool:
    """Whether a plan is durable on all its partitions, so that somebody may have inserted it."""
    found = [(commits.get(range_.partition, Commit(-1, None)), range_) for range_ in plan.ranges]
    return all(commit.plan == plan or commit.offset >= range_.end for commit, range_ in found)
