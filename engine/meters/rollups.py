"""A meter's three tables and the views that chain them: events → minute → quarter → day.

Owns: rendering, creating and dropping them. Quarter hours, because every offset in use since 1972 is a multiple of
15 minutes, so days and months of any zone are made of them, across clock changes. Nothing in a view may throw.
Source: docs/design.md R9, R12, R13.
"""

from datetime import datetime

from engine import faults
from engine.instants import milliseconds
from engine.meters.jsonpath import read_at
from engine.meters.meter import Meter
from engine.store import sql
from engine.store.clickhouse import DEDUPLICATION_WINDOW, Store

GRAINS = ("minute", "quarter", "day")
_COARSEN = {"quarter": "toStartOfFifteenMinutes", "day": "toStartOfDay"}


def create_rollup(store: Store, meter: Meter) -> None:
    """Make the tables and views, the coarsest first, so that the chain is whole when the first event enters it."""
    for grain in GRAINS:
        store.command(_table(meter, grain))
    faults.passing("meter.after-tables")
    for grain, finer in (("day", "quarter"), ("quarter", "minute")):
        store.command(_view(meter, grain, _coarser(meter, grain, finer)))
    store.command(_view(meter, "minute", minute_select(meter, stored=f"stored_at >= {_instant(meter.visible_from)}")))


def drop_rollup(store: Store, rollup: str) -> None:
    """Drop the views, the finest first so that no insert meets half a chain, then the tables."""
    for grain in GRAINS:
        store.command(f"DROP VIEW IF EXISTS {sql.identifier(f'{rollup}_{grain}_view')}")
    for grain in GRAINS:
        store.command(f"DROP TABLE IF EXISTS {sql.identifier(f'{rollup}_{grain}')}")


def minute_select(meter: Meter, stored: str) -> str:
    """Return the SELECT that makes minute rows of events for which the condition `stored` holds."""
    names = dimension_columns(meter)
    return sql.statement(
        "meters/minute_select",
        dimensions="".join(f"{name}, " for name in names),
        columns=", ".join(f"{column.from_events} AS {column.name}" for column in meter.spec.columns),
        extracted=extraction(meter),
        event_type=sql.literal(meter.definition.eventType),
        stored=stored,
        dimension_names=_listed(names),
    )


def extraction(meter: Meter) -> str:
    """Return the select list that takes a meter's text, value and dimensions out of an event's data."""
    parts = [f"{read_at(meter.definition.groupBy[key])} AS {meter.dimension(key)}" for key in meter.dimensions]
    if meter.definition.valueProperty is not None:
        parts.append(f"{read_at(meter.definition.valueProperty)} AS text")
        parts.append(f"{sql.statement('usage/number', text='text')} AS value")
    return ", ".join(parts or ["1"])


def dimension_columns(meter: Meter) -> list[str]:
    """Return the rollup's dimension columns: d0, d1, …"""
    return [meter.dimension(key) for key in meter.dimensions]


def _table(meter: Meter, grain: str) -> str:
    names = dimension_columns(meter)
    return sql.statement(
        "meters/rollup_table",
        table=sql.identifier(meter.table(grain)),
        dimensions="".join(f"{name} String, " for name in names),
        columns=", ".join(f"{column.name} {column.type}" for column in meter.spec.columns),
        dimension_names=_listed(names),
        dedup_window=str(DEDUPLICATION_WINDOW),
    )


def _view(meter: Meter, grain: str, select: str) -> str:
    return sql.statement(
        "meters/rollup_view",
        view=sql.identifier(f"{meter.table(grain)}_view"),
        table=sql.identifier(meter.table(grain)),
        select=select,
    )


def _coarser(meter: Meter, grain: str, finer: str) -> str:
    names = dimension_columns(meter)
    return sql.statement(
        "meters/coarser_select",
        coarsen=_COARSEN[grain],
        dimensions="".join(f"{name}, " for name in names),
        columns=", ".join(f"{column.from_rollup} AS {column.name}" for column in meter.spec.columns),
        source=sql.identifier(meter.table(finer)),
        dimension_names=_listed(names),
    )


def _listed(names: list[str]) -> str:
    return "".join(f", {name}" for name in names)


def _instant(at: datetime) -> str:
    return f"fromUnixTimestamp64Milli({milliseconds(at)}, 'UTC')"  # cut as the fill cuts it: the two meet
