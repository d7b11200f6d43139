"""Why an event did not count for a meter of its type, told when the event is listed.

Owns: the lines of `validationError`. Whether a value counted is asked of the SQL expression that fills the rollups, on
the stored row itself, so a line stands there exactly where usage lacks the event. COUNT and UNIQUE_COUNT take every
event; an event before a meter's `eventFrom` is none of its business.
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

_TAKES_ALL = frozenset({Aggregation.COUNT, Aggregation.UNIQUE_COUNT})
_SHOWN = 200  # characters of a text that is no number
_COUNTED = "counted"
_NO_NUMBER = re.compile(r"(?P<nan>nan)|[+-]?inf(?:inity)?", re.IGNORECASE | re.ASCII)  # doubles that are no numbers
# By the verdicts of sql/events/verdict.sql; the words are OpenMeter's where it has some, for clients that read them.
_LINES: Mapping[str, str] = {
    "absent": "null and missing value property",
    "unreadable": "failed to parse event data: not JSON the engine can read",
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


class Place(NamedTuple):
    """Where an event stands: by what the table is ordered by, and in the log."""

    type: str
    subject: str
    time_ms: int
    partition: int
    offset: int


def validation_errors(store: Store, registry: MeterRegistry, places: Sequence[Place]) -> dict[Place, str]:
    """Return, for each event that did not count for every meter of its type, a line for each such meter.

    An event type without a meter is a line of its own. One statement for each event type with numeric meters.
    """
    errors: dict[Place, str] = {}
    for event_type in dict.fromkeys(place.type for place in places):
        of_type = [place for place in places if place.type == event_type]
        meters = registry.of_type(event_type)
        if meters:
            errors |= _of_meters(store, [meter for meter in meters if _is_numeric(meter)], of_type)
        else:
            errors |= dict.fromkeys(of_type, f"no meter found for event type: {event_type}")
    return errors


def _is_numeric(meter: Meter) -> bool:
    return meter.definition.aggregation not in _TAKES_ALL


def _of_meters(store: Store, meters: Sequence[Meter], places: Sequence[Place]) -> dict[Place, str]:
    """Return the errors of events of one type."""
    if not meters:
        return {}
    by_position = {(place.partition, place.offset): place for place in places}
    rows = store.rows(
        _statement(meters),
        event_type=places[0].type,
        subjects=sorted({place.subject for place in places}),
        first_ms=min(place.time_ms for place in places),
        last_ms=max(place.time_ms for place in places),
        positions=[*by_position],
    )
    errors = {}
    for partition, offset, *verdicts in rows:
        place = by_position[partition, offset]
        lines = [
            _line(meter, verdict, text)
            for meter, verdict, text in zip(meters, verdicts[::2], verdicts[1::2], strict=True)
            if verdict != _COUNTED and _counts_from(meter) <= place.time_ms
        ]
        if lines:
            errors[place] = "\n".join(lines)
    return errors


def _statement(meters: Sequence[Meter]) -> str:
    found, verdicts = [], []
    for at, meter in enumerate(meters):
        text, kinds = f"text_{at}", f"kinds_{at}"
        number = sql.statement("usage/number", text=text)
        value, matches = json_expression(_path(meter)), json_expression(_path(meter), "JSON_QUERY")
        found.append(sql.statement("events/found", value=value, matches=matches, text=text, kinds=kinds))
        verdicts.append(sql.statement("events/verdict", number=number, text=text, kinds=kinds))
        verdicts.append(f"toValidUTF8(substringUTF8({text}, 1, {_SHOWN + 1}))")
    return sql.statement("events/verdicts", verdicts=", ".join(verdicts), found=", ".join(found))


def _path(meter: Meter) -> str:
    return meter.definition.valueProperty or ""


def _counts_from(meter: Meter) -> int:
    """Return the first millisecond whose events are the meter's."""
    event_from = meter.definition.eventFrom
    return BEGINNING * 1000 if event_from is None else parse_instant(event_from.isoformat()).ceil_milliseconds


def _line(meter: Meter, verdict: str, text: str) -> str:
    if verdict == "text" and (match := _NO_NUMBER.fullmatch(text)):
        verdict = "nan" if match["nan"] else "infinity"
    return "invalid event: " + _LINES[verdict].format(path=_path(meter), text=_shown(text))


def _shown(text: str) -> str:
    """Return text fit for one line, cut where it is long."""
    printable = "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in text[:_SHOWN])
    return printable + ("…" if len(text) > _SHOWN else "")
