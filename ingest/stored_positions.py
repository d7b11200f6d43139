"""Up to which position a log has been stored, as the store knows it. It is compared with the group's committed offsets.

Two places record how far ingest is: the offsets of the consumer group, and the store. They are kept separately, so one
of them may be lost, restored from an older copy or exchanged without the other. Then usage would be missing without a
report. The store therefore notes a position for each partition before the offsets pass it. If an offset is ahead of its
position, records before the offset are not in this store.
Limits: one position for each partition, the highest. The store may lack something below it if offsets were moved by
hand.
Source: docs/design.md R6b (positions in the store).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from engine.ids import new_ulid
from engine.store import sql
from engine.store.clickhouse import Store

_TOPIC_ROW = -1  # the row with this partition number says that the topic is known


@dataclass(frozen=True, slots=True)
class KnownTopic:
    """What a store knows about a topic. `positions`: for each partition, everything before the position is stored.

    `unknown`: the store knows nothing about this topic, nor about another one with its name.
    """

    positions: Mapping[int, int]
    unknown: bool


class StoredPositions:
    """The positions of one store. Thread-safe. Any call may raise StoreUnavailable or StoreError: try again."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def known(self, topic: str, topic_id: str = "") -> KnownTopic:
        """Return what the store knows about a topic.

        Args: topic_id: only positions of this id count; "" if the brokers do not report an id: all positions of the
        name count.
        """
        rows = self._store.rows(sql.statement("ingest/positions"), topic=topic)
        positions: dict[int, int] = {}
        for id_, partition, position in rows:
            if partition != _TOPIC_ROW and (not id_ or not topic_id or id_ == topic_id):
                positions[partition] = max(position, positions.get(partition, 0))
        return KnownTopic(positions, unknown=not rows)

    def note(self, topic: str, topic_id: str, positions: Mapping[int, int]) -> None:
        """Note that everything before these positions is stored. Safe to repeat."""
        rows = dict(positions) or {_TOPIC_ROW: 0}
        table = {
            "topic": pa.array([topic] * len(rows), pa.string()),
            "topic_id": pa.array([topic_id] * len(rows), pa.string()),
            "partition": pa.array(list(rows), pa.int32()),
            "position": pa.array(list(rows.values()), pa.int64()),
        }
        self._store.insert_block("log_positions", pa.table(table), new_ulid())
