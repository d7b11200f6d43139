"""A plan as the metadata of committed offsets, and what such commits say about it.

Owns: the text of a plan, `Commit`, and the rule that decides whether a plan found on one partition is durable.

    v1;<stored_ms>;<partition>:<start>+<records' span>,…          e.g.  v1;1764547200123;0:4711+1200,3:88+15

A plan is made by one commit request for all its partitions, which commits the start of each range. When it is stored,
the offsets move past the ends of the ranges. So a plan was made if each of its partitions either carries it or has
moved past its range there.
Anyone who may commit to the group can write such a text. A text that no Meterport process can have written is not taken
for a plan. A plan whose stamp the clock does not explain is judged by what the store knows about it
(ingest/consumer.py).
Limits: 4,096 bytes, a broker's default for metadata: `PLAN_PARTITIONS` ranges fit, whatever their offsets are.
Source: docs/design.md R6 (plans), R6c (forged plans); Kafka "offset.metadata.max.bytes".
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from ingest.event_log import LATEST_STAMP_MS, Plan, Range

PLAN_PARTITIONS = 90  # at most 45 characters each: two offsets of 19 digits, a partition of 4, a comma
_RANGE = r"\d{1,10}:\d{1,19}\+\d{1,19}"
_PLAN = re.compile(rf"v1;(\d{{1,19}});({_RANGE}(?:,{_RANGE})*)\Z", re.ASCII)
_LARGEST_PARTITION, _LARGEST_OFFSET = 2**31 - 1, 2**63 - 1


class Commit(NamedTuple):
    """What is committed for a partition. `offset`: -1 if nothing. `forged`: it looks like a plan but cannot be one."""

    offset: int
    plan: Plan | None
    forged: bool = False


def to_metadata(plan: Plan) -> str:
    """Return a plan as text."""
    ranges = ",".join(f"{partition}:{start}+{end - start}" for partition, start, end in plan.ranges)
    return f"v1;{plan.stored_ms};{ranges}"


def from_metadata(text: str | None) -> Plan | None:
    """Return the plan in a text; None if there is none: an acknowledged batch, or a commit made by another program."""
    found = _PLAN.match(text or "")
    if not found:
        return None
    ranges = []
    for range_text in found[2].split(","):
        partition, start, span = map(int, re.split(r"[:+]", range_text))
        ranges.append(Range(partition, start, start + span))
    is_possible = all(
        start < end <= _LARGEST_OFFSET and partition <= _LARGEST_PARTITION for partition, start, end in ranges
    )
    is_unique = len({range_.partition for range_ in ranges}) == len(ranges)
    is_possible = is_possible and int(found[1]) <= LATEST_STAMP_MS
    return Plan(tuple(ranges), int(found[1])) if is_possible and is_unique else None


def is_forged(text: str | None) -> bool:
    """Return whether a text has the form of a plan that no Meterport process can have written."""
    return bool(_PLAN.match(text or "")) and from_metadata(text) is None


def committed_plan(text: str | None, partition: int, offset: int) -> Plan | None:
    """Return the plan committed for a partition, if its range there begins at the committed offset; else None.

    Tools that copy groups may carry metadata along to another offset.
    """
    plan = from_metadata(text)
    starts = plan and {range_.partition: range_.start for range_ in plan.ranges}
    return plan if starts and starts.get(partition) == offset else None


def is_durable(plan: Plan, commits: Mapping[int, Commit]) -> bool:
    """Return whether a plan is durable on all its partitions, so that a process may have inserted it."""
    found = [(commits.get(range_.partition, Commit(-1, None)), range_) for range_ in plan.ranges]
    return all(commit.plan == plan or commit.offset >= range_.end for commit, range_ in found)
