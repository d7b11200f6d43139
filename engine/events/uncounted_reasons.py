"""The reasons why a meter did not count an event of its type, for the listing of events.

Owns: the lines of `validationError`. The SQL expression that fills the rollups decides, on the stored row, whether a
value counted. So an event has a line exactly if the usage lacks it. COUNT and UNIQUE_COUNT count every event. An event
before a meter's `eventFrom` does not concern this meter.
Source: docs/contract.md D.5, D.13, D.16, 4.8.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from engine.instants import BEGINNING, parse_instant
from engine.meters.aggregations import Aggregation
from engine.meters.jsonpath import json_expression
from engine.meters.meter import Meter
from engine.meters.registry import MeterRegistry
from engine.store import sql
from engine.store.clickhouse import Store

_TAKE_EVERY_EVENT = frozenset({Aggregation.COUNT, Aggregation.UNIQUE_COUNT})
_MAX_SHOWN_CHARACTERS = 200  # of a text that is not a number
_COUNTED = "counted"
# Texts that name a double which is not a number or is infinite.
_NOT_FINITE = re.compile(r"(?P<nan>nan)|[+-]?inf(?:inity)?", re.IGNORECASE | re.ASCII)
# The message for each verdict of sql/events/verdict.sql. OpenMeter's wording is used where it has one, because clients
# may parse it.
_MESSAGES: Mapping[str, str] = {
    "absent": "null and missing value property",
    "unreadable": "failed to parse event data: not JSON that ClickHouse can read",
    "missing": 'missing value property: "{path}"',
    "null": "value cannot be null",
    "bool": "unsupported value property type: bool",
    "object": "unsupported value property type: map[string]interface {{}}",
    "array": "unsupported value property type: []interface {{}}",
    "nan": "value cannot be NaN",
    "infinity": "value cannot be infinity",
    "digits": "value has more digits than are kept: {text}",
    "text": "value cannot be parsed as float64: {text}",
}


class EventPosition(NamedTuple):
    """The position of an event in the order of the table `events`, and in the event log."""

    type: str
    subject: str
    time_ms: int
    partition: int
    offset: int


def validation_errors(
    store: Store, registry: MeterRegistry, positions: Sequence[EventPosition]
) -> dict[EventPosition, str]:
    """Return the errors of the events that some meter of their type did not count, with one line for each such meter.

    If an event type has no meter, the error says so. One statement is run for each event type with numeric meters.
    """
    errors: dict[EventPosition, str] = {}
    for event_type in dict.fromkeys(position.type for position in positions):
        of_type = [position for position in positions if position.type == event_type]
        meters = registry.of_type(event_type)
        if meters:
            errors |= _errors_of_type(store, [meter for meter in meters if _is_numeric(meter)], of_type)
        else:
            errors |= dict.fromkeys(of_type, f"no meter found for event type: {event_type}")
    return errors


def _is_numeric(meter: Meter) -> bool:
    return meter.definition.aggregation not in _TAKE_EVERY_EVENT


def _errors_of_type(
    store: Store, meters: Sequence[Meter], positions: Sequence[EventPosition]
) -> dict[EventPosition, str]:
    """Return the errors of events that all have the same type."""
    if not meters:
        return {}
    by_position = {(position.partition, position.offset): position for position in positions}
    rows = store.rows(
        _statement(meters),
        event_type=positions[0].type,
        subjects=sorted({position.subject for position in positions}),
        first_ms=min(position.time_ms for position in positions),
        last_ms=max(position.time_ms for position in positions),
        positions=[*by_position],
    )
    errors = {}
    for partition, offset, *verdicts in rows:
        position = by_position[partition, offset]
        lines = [
            _message(meter, verdict, text)
            for meter, verdict, text in zip(meters, verdicts[::2], verdicts[1::2], strict=True)
            if verdict != _COUNTED and _first_counted_ms(meter) <= position.time_ms
        ]
        if lines:
            errors[position] = "\n".join(lines)
    return errors


def _statement(meters: Sequence[Meter]) -> str:
    found, verdicts = [], []
    for index, meter in enumerate(meters):
        text, kinds = f"text_{index}", f"kinds_{index}"
        number = sql.statement("usage/number", text=text)
        value, matches = json_expression(_path(meter)), json_expression(_path(meter), "JSON_QUERY")
        found.append(sql.statement("events/found", value=value, matches=matches, text=text, kinds=kinds))
        verdicts.append(sql.statement("events/verdict", number=number, text=text, kinds=kinds))
        verdicts.append(f"toValidUTF8(substringUTF8({text}, 1, {_MAX_SHOWN_CHARACTERS + 1}))")
    return sql.statement("events/verdicts", verdicts=", ".join(verdicts), found=", ".join(found))


def _path(meter: Meter) -> str:
    return meter.definition.value_property or ""


def _first_counted_ms(meter: Meter) -> int:
    """Return the first event time, in Unix milliseconds, that the meter counts."""
    event_from = meter.definition.event_from
    return BEGINNING * 1000 if event_from is None else parse_instant(event_from.isoformat()).ceil_milliseconds


def _message(meter: Meter, verdict: str, text: str) -> str:
    if verdict == "text" and (match := _NOT_FINITE.fullmatch(text)):
        verdict = "nan" if match["nan"] else "infinity"
    return "invalid event: " + _MESSAGES[verdict].format(path=_path(meter), text=_shorten(text))


def _shorten(text: str) -> str:
    """Return a text on one line, with escapes for unprintable characters. A long text is truncated."""
    printable = "".join(
        character if character.isprintable() else f"\\u{ord(character):04x}"
        for character in text[:_MAX_SHOWN_CHARACTERS]
    )
    return printable + ("…" if len(text) > _MAX_SHOWN_CHARACTERS else "")
