"""The rows of the registry table: one for each version of a meter."""

from datetime import UTC, datetime

import orjson

from engine.meters.definition import MeterDefinition
from engine.meters.meter import Meter, MeterState

COLUMNS = (
    "id", "version", "slug", "state", "definition", "rollup", "visible_from", "filled_to",
    "created_at", "updated_at", "deleted_at",
)  # fmt: skip


def to_row(meter: Meter) -> list[object]:
    """Return a meter as a row, in the order of COLUMNS."""
    return [
        meter.id,
        meter.version,
        meter.slug,
        meter.state.value,
        orjson.dumps(meter.definition.model_dump(mode="json")).decode(),
        meter.rollup,
        meter.visible_from,
        meter.filled_to,
        meter.created_at,
        meter.updated_at,
        meter.deleted_at,
    ]


def from_row(row: tuple[object, ...]) -> Meter:
    """Return the meter of a row of `sql/meters/list.sql`."""
    values = dict(zip(COLUMNS, row, strict=True))
    return Meter(
        id=str(values["id"]),
        version=int(str(values["version"])),
        definition=MeterDefinition.model_validate_json(str(values["definition"])),
        state=MeterState(str(values["state"])),
        rollup=str(values["rollup"]),
        visible_from=in_utc(values["visible_from"]),
        filled_to=in_utc(values["filled_to"]),
        created_at=in_utc(values["created_at"]),
        updated_at=in_utc(values["updated_at"]),
        deleted_at=in_utc(values["deleted_at"]) if values["deleted_at"] else None,
    )


def in_utc(value: object) -> datetime:
    """Return an instant of the store with its zone: ClickHouse's client may leave out UTC."""
    assert isinstance(value, datetime)  # noqa: S101 - the column is a DateTime64
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
