"""Meters: create, list, get, update, delete.

Owns: the JSON of a meter, and what a PUT may change. The rules for definitions are in engine/meters/definition.py.
Source: docs/contract.md "Meters" and D.4.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.dependencies import Dependencies, in_thread
from api.http.bodies import read_object
from api.http.members import refuse_misspelt_case
from api.http.parameters import Parameters, slug_or_id
from api.http.responses import json_response, no_content, timestamp, without_none
from engine.errors import InvalidRequest
from engine.meters.definition import MEMBERS, MeterDefinition, check_event_type, parse_definition
from engine.meters.meter import Meter

_FIXED_MEMBERS = ("slug", "aggregation", "eventType", "valueProperty")


class Order(StrEnum):
    """The direction of a listing's order."""

    ASC = "ASC"
    DESC = "DESC"


class OrderBy(StrEnum):
    """The property by which meters are sorted."""

    KEY = "key"
    NAME = "name"
    AGGREGATION = "aggregation"
    CREATED_AT = "createdAt"
    UPDATED_AT = "updatedAt"


_SORT_KEYS: dict[OrderBy, Callable[[Meter], Any]] = {
    OrderBy.KEY: lambda meter: meter.slug,
    OrderBy.NAME: lambda meter: meter.definition.name,
    OrderBy.AGGREGATION: lambda meter: meter.definition.aggregation.value,
    OrderBy.CREATED_AT: lambda meter: meter.created_at,
    OrderBy.UPDATED_AT: lambda meter: meter.updated_at,
}


def meter_json(meter: Meter) -> dict[str, object]:
    """Return a meter as the API shows it; members without a value are left out."""
    definition = meter.definition
    return without_none(
        {
            "id": meter.id,
            "slug": definition.slug,
            "name": definition.name,
            "description": definition.description,
            "aggregation": definition.aggregation.value,
            "eventType": definition.event_type,
            "eventFrom": timestamp(definition.event_from) if definition.event_from else None,
            "valueProperty": definition.value_property,
            "groupBy": definition.group_by or None,
            "metadata": definition.metadata,
            "createdAt": timestamp(meter.created_at),
            "updatedAt": timestamp(meter.updated_at),
            "deletedAt": timestamp(meter.deleted_at) if meter.deleted_at else None,
        }
    )


async def create_meter(dependencies: Dependencies, request: Request) -> Response:
    """Create a meter; answer 201."""
    body = await read_object(request, dependencies.settings.server.body_limit_bytes)
    refuse_misspelt_case(iter(body), MEMBERS)
    definition = parse_definition(body)
    check_event_type(definition.event_type, dependencies.settings.reserved_event_types)
    meter = await in_thread(request, lambda: dependencies.registry.create(definition))
    return json_response(meter_json(meter), 201)


async def list_meters(dependencies: Dependencies, request: Request) -> Response:
    """List meters. `page` and `pageSize` are checked but have no effect: there is only one page."""
    query = Parameters(request)
    query.integer("page", 1, 1, 10**9)
    query.integer("pageSize", 1000, 1, 1000)
    order, order_by = query.choice("order", Order), query.choice("orderBy", OrderBy) or OrderBy.KEY
    meters = sorted(dependencies.registry.all(query.flag("includeDeleted")), key=_SORT_KEYS[order_by])
    if order is Order.DESC:
        meters.reverse()
    return json_response([meter_json(meter) for meter in meters])


async def get_meter(dependencies: Dependencies, request: Request) -> Response:
    """Return a meter by slug or id; a deleted meter can be found by its id."""
    return json_response(meter_json(dependencies.registry.find(slug_or_id(request))))


async def update_meter(dependencies: Dependencies, request: Request) -> Response:
    """Update a meter's name, description, group-by and metadata; a new group-by starts the fill of a new rollup."""
    id_or_slug = slug_or_id(request)
    body = await read_object(request, dependencies.settings.server.body_limit_bytes)
    refuse_misspelt_case(iter(body), MEMBERS)

    def update() -> Meter:
        return dependencies.registry.update(id_or_slug, lambda current: _updated_definition(current, body))

    return json_response(meter_json(await in_thread(request, update)))


def _updated_definition(current: MeterDefinition, body: dict[str, Any]) -> MeterDefinition:
    """Return the definition after a PUT: absent members are cleared, except the description, which is kept."""
    members = current.model_dump()
    fixed = {name: members[name] for name in _FIXED_MEMBERS}
    for name, value in fixed.items():
        if body.get(name) not in (None, value):
            raise InvalidRequest(f"{name} cannot be changed")
    changed = parse_definition(
        {
            "description": current.description,
            **body,
            **fixed,
            "eventFrom": current.event_from if body.get("eventFrom") is None else body["eventFrom"],
            "name": current.slug if body.get("name") is None else body["name"],
        }
    )
    if changed.event_from != current.event_from:
        raise InvalidRequest("eventFrom cannot be changed")
    return changed


async def delete_meter(dependencies: Dependencies, request: Request) -> Response:
    """Delete a meter; answer 204. Its slug can be used again."""
    id_or_slug = slug_or_id(request)
    await in_thread(request, lambda: dependencies.registry.delete(id_or_slug))
    return no_content()
