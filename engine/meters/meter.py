"""One version of a meter in the registry: its definition, its state, and the names of its tables.

The table names contain a hash of the definition, so a changed meter never reads the rows of its old definition.
Source: docs/contract.md, "Meters"; docs/design.md R9 (a view must not throw), R12 (tables of a meter), R14 (values).
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import orjson

from engine.meters.aggregations import AGGREGATIONS, AggregationSpec
from engine.meters.definition import MeterDefinition


class MeterState(StrEnum):
    """The state of a meter's rollup. Only a READY rollup answers queries; before that, the raw events answer them.

    CREATING: the tables and views do not all exist yet. SETTLING: the fill waits for its barrier, since batches that
    the views do not take may still reach the store. FILLING: no such batch can come any more; the events stored before
    the views are written into the rollup, segment by segment.
    """

    CREATING = "creating"
    SETTLING = "settling"
    FILLING = "filling"
    READY = "ready"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Meter:
    """One version of a meter in the registry.

    `rollup` is the prefix of its table names (`<rollup>_minute`, …). `visible_from`: the views take the events whose
    `stored_at` is this instant or later. `filled_to`: of the events with an earlier `stored_at`, the rollup contains
    those whose event time is before this instant.
    """

    id: str
    version: int
    definition: MeterDefinition
    state: MeterState
    rollup: str
    visible_from: datetime
    filled_to: datetime
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None

    @property
    def slug(self) -> str:
        return self.definition.slug

    @property
    def spec(self) -> AggregationSpec:
        return AGGREGATIONS[self.definition.aggregation]

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The group-by keys, in the order of the rollup's columns d0, d1, …"""
        return tuple(sorted(self.definition.group_by))

    def dimension(self, key: str) -> str:
        """Return the rollup column of a group-by key. Raises: KeyError: the meter has no such key."""
        try:
            return f"d{self.dimensions.index(key)}"
        except ValueError:
            raise KeyError(key) from None

    def table(self, grain: str) -> str:
        """Return the name of the table of a grain: minute, quarter or day."""
        return f"{self.rollup}_{grain}"


def rollup_name(definition: MeterDefinition, visible_from: datetime) -> str:
    """Return the prefix of a rollup's table names.

    It consists of the slug, which is for people, and a hash of what is counted and of `visible_from`.
    """
    digest = hashlib.sha256(orjson.dumps([repr(definition.counted), visible_from.isoformat()])).hexdigest()
    return f"meter_{definition.slug}_{digest[:8]}"
