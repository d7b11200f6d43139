"""One version of a meter in the registry: its definition, its state, and the names of its tables.

The tables are named for a hash of the definition, so a changed meter never meets its old rows.
Source: docs/contract.md, "Meters"; docs/design.md R9, R14.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import orjson

from engine.meters.aggregations import AGGREGATIONS, AggregationSpec
from engine.meters.definition import MeterDefinition


class MeterState(StrEnum):
    """How far a meter's rollup is. Only a READY rollup answers queries; before that, events do.

    CREATING: its views do not stand yet. SETTLING: batches its views did not take may still be under way.
    FILLING: none is any more; what was stored before the views is put in piece by piece.
    """

    CREATING = "creating"
    SETTLING = "settling"
    FILLING = "filling"
    READY = "ready"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Meter:
    """One version of a meter in the registry.

    `rollup` names its tables (`<rollup>_minute`, …). `visible_from`: the views take events stored from then on.
    `filled_to`: events stored before `visible_from` are in the rollup up to this event time.
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
        """The group-by keys in the order of the rollup's columns d0, d1, …"""
        return tuple(sorted(self.definition.groupBy))

    def dimension(self, key: str) -> str:
        """Return the rollup column of a group-by key. Raises: KeyError."""
        try:
            return f"d{self.dimensions.index(key)}"
        except ValueError:
            raise KeyError(key) from None

    def table(self, grain: str) -> str:
        """Return the table of a grain: minute, quarter or day."""
        return f"{self.rollup}_{grain}"


def rollup_name(definition: MeterDefinition, visible_from: datetime) -> str:
    """Return the prefix of a rollup's tables: the slug for people, a hash of what is counted and since when."""
    digest = hashlib.sha256(orjson.dumps([repr(definition.counted), visible_from.isoformat()])).hexdigest()
    return f"meter_{definition.slug}_{digest[:8]}"
