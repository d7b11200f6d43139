"""Translations between the oracle's types and the product's: events to JSON, meters to definitions, answers to rows."""

import json
from decimal import Decimal
from typing import Any

from engine.instants import parse_instant
from engine.meters.definition import MeterDefinition, parse_definition
from engine.usage.answers import UsageQuery
from engine.usage.windows import WindowSize
from tests.harness import oracle


def cloudevent(event: oracle.Event) -> bytes:
    """Return an event as a structured-mode CloudEvent, its data byte for byte."""
    envelope = {"specversion": "1.0", "id": event.id, "source": event.source, "type": event.type}
    envelope |= {"subject": event.subject, "time": event.time}
    text = json.dumps(envelope)
    return (text if event.data is None else f'{text[:-1]},"data":{event.data}}}').encode()


def definition_body(meter: oracle.Meter) -> dict[str, Any]:
    """Return the request body that creates a meter."""
    body: dict[str, Any] = {"slug": meter.slug, "eventType": meter.event_type, "aggregation": meter.aggregation}
    if meter.value_property is not None:
        body["valueProperty"] = meter.value_property
    if meter.group_by:
        body["groupBy"] = dict(meter.group_by)
    if meter.event_from is not None:
        body["eventFrom"] = meter.event_from.isoformat()
    return body


def definition(meter: oracle.Meter) -> MeterDefinition:
    return parse_definition(definition_body(meter))


def usage_query(query: oracle.Query) -> UsageQuery:
    return UsageQuery(
        from_=parse_instant(query.from_) if query.from_ else None,
        to=parse_instant(query.to) if query.to else None,
        window_size=WindowSize(query.window_size) if query.window_size else None,
        zone=query.zone,
        subjects=tuple(query.subjects) if query.subjects is not None else None,
        group_by=tuple(query.group_by),
        filters={key: tuple(texts) for key, texts in query.filters.items()},
    )


def rows(answer: bytes) -> list[oracle.Row]:
    """Return the rows of a JSON answer, with numbers as exact decimals."""
    return [
        oracle.Row(
            parse_instant(row["windowStart"]).nanos,
            parse_instant(row["windowEnd"]).nanos,
            row["subject"],
            tuple(row["groupBy"].items()),
            Decimal(row["value"]),
        )
        for row in json.loads(answer, parse_float=Decimal, parse_int=Decimal)
    ]
