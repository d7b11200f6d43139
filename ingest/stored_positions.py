"""Up to where a log has been stored, as the store itself knows: what the group's committed offsets are compared with.

Two things remember how far ingest is: the offsets of the consumer group and the store. They are kept apart, so one may
be lost, restored from an older copy or exchanged without the other; then usage would be missing in silence. The store
therefore notes a position for each partition before the offsets pass it. An offset that is ahead of its position
passes records that this store does not hold.
Limits: one position a partition, the highest: the store may lack something below it if offsets were moved by hand.
Source: docs/design.md R6b.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from engine.ids import new_ulid
from engine.store import sql
from engine.store.clickhouse import Store

_TOPIC_ROW = -1  # the partition whose row says that the topic is known


@dataclass(frozen=True, slots=True)
class KnownTopic:
    """What a store knows of a topic. `positions`: by partition; what comes before is stored.

    `unknown`: nothing of this topic, nor of one of its name. `legacy`: an earlier release has filled the store, so that
    committed offsets are all there is to go by.
    """

    positions: Mapping[int, int]
    unknown: bool
    legacy: bool


class StoredPositions:
    """The positions of one store. Thread-safe. Any call may raise StoreUnavailable or StoreError: try again."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def known(self, topic: str, topic_id: str = "") -> KnownTopic:
        """Return what is known of a topic. Args: topic_id: "" if the brokers do not tell it: any of its name."""
        rows = self._store.rows(sql.statement("ingest/positions"), topic=topic)
        positions: dict[int, int] = {}
        for id_, partition, position in rows:
            if partition != _TOPIC_ROW and (not id_ or not topic_id or id_ == topic_id):
                positions[partition] = max(position, positions.get(partition, 0))
        legacy = not rows and bool(
            self._store.rows(sql.statement("ingest/filled_before_positions"), prefix=f"{topic}/")[0][0]
        )
        return KnownTopic(positions, unknown=not rows, legacy=legacy)

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
