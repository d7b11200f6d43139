"""Where a partition is read from when the group's committed offset and the store's position differ.

Owns: the comparison of the two, once for each partition that is assigned, and what the store notes about it.

| committed offset      | the store                                   | reading begins                          |
|-----------------------|---------------------------------------------|-----------------------------------------|
| not past the position | has everything before it                    | at the offset                           |
| past the position     | lacks what lies between                     | at the position; a gap is reported      |
| exists                | has no position of the partition            | at the first record; a gap is reported  |
| none                  | has a position before the topic's beginning | at the first record; a gap is reported  |
| none                  | has a position that the topic still holds   | at the position                         |

With `kafka.trust_offsets`, reading begins at the offset in every case, and the gap is reported as lost.
Source: docs/design.md R6b (positions in the store); KIP-516 (topic ids).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ingest.event_log import Range
from ingest.stored_positions import KnownTopic, StoredPositions


class Gap(NamedTuple):
    """Offsets [start, end) that the store lacks, although the group passed them or the topic has deleted them."""

    start: int
    end: int


class TopicPositions:
    """Compares what the group and the store know about one topic. Not thread-safe."""

    def __init__(self, positions: StoredPositions, topic: str, trust_offsets: bool) -> None:
        """Args: trust_offsets: the setting `kafka.trust_offsets`."""
        self._positions = positions
        self._topic = topic
        self.trust_offsets = trust_offsets
        self._topic_id: str | None = None  # as of the last comparison

    @property
    def is_noted(self) -> bool:
        """Whether the store has noted the topic; it must have before anything of the topic is stored."""
        return self._topic_id is not None

    def set_topic_id(self, topic_id: str) -> None:
        """From now on note positions for the topic that was created again under the same name."""
        self._topic_id = topic_id

    def known(self, topic_id: str, committed: Callable[[], Mapping[int, int]]) -> KnownTopic:
        """Return what the store knows, after noting the topic there if it is new.

        Args: committed: returns the committed offsets of all partitions of the topic.
        """
        self._topic_id = topic_id
        known = self._positions.known(self._topic, topic_id)
        if known.unknown and self.trust_offsets:
            # All partitions at once: a partition that is assigned later would otherwise seem to have a gap.
            self._positions.note(self._topic, topic_id, committed())
            return KnownTopic(self._positions.known(self._topic, topic_id).positions, unknown=False)
        if known.unknown:
            # so that a store without positions is never taken for a new one
            self._positions.note(self._topic, topic_id, {})
        return known

    def note(self, positions: Mapping[int, int], released: Sequence[Range] = ()) -> None:
        """Note in the store that everything before these positions is stored.

        Args: released: stored ranges of partitions that were not compared. Their ends are noted if there is no gap
        before them.
        """
        if released:
            known = self._positions.known(self._topic, self._topic_id or "").positions
            positions = {
                **positions,
                **{number: end for number, start, end in released if known.get(number, -1) >= start},
            }
        if positions:
            self._positions.note(self._topic, self._topic_id or "", positions)


def gap_between(committed: int, position: int | None, low: int) -> Gap | None:
    """Return what lies between the store's position and a committed offset; None if there is no gap.

    Args: committed: -1 if nothing is committed. position: None if the store knows nothing about the partition. low: the
    first offset that the partition has.
    """
    if committed < 0:
        return Gap(position, low) if position is not None and position < low else None
    start = low if position is None else position
    return Gap(start, committed) if committed > start else None
