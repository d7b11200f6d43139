"""The three tables of a meter, and the views that connect them: events → minute → quarter → day.

Owns: rendering, creating and dropping them. One grain is the quarter hour, because every UTC offset in use since 1972
is a multiple of 15 minutes. So the days and months of any zone consist of quarter hours, also across clock changes.
An event that arrives late is added to its own minute, quarter hour and day in the same way.
Nothing in a view may throw.
Source: docs/design.md R9 (a view must not throw), R12 (tables of a meter), R13 (grains).
"""

from collections.abc import Collection
from datetime import datetime

from engine import faults
from engine.instants import milliseconds
from engine.meters.aggregations import Aggregation
from engine.meters.jsonpath import json_expression
from engine.meters.meter import Meter
from engine.store import sql
from engine.store.clickhouse import DEDUPLICATION_WINDOW, Store

GRAINS = ("minute", "quarter", "day")
_COARSEN_FUNCTIONS = {"quarter": "toStartOfFifteenMinutes", "day": "toStartOfDay"}


def create_rollup(store: Store, meter: Meter) -> None:
    """Create the tables and then the views.

    The coarsest view comes first, so that the chain is complete when the first event enters it.
    """
    for grain in GRAINS:
        store.command(_table_statement(meter, grain))
    faults.hit("meter.after-tables")
    for grain, finer in (("day", "quarter"), ("quarter", "minute")):
        store.command(_view_statement(meter, grain, _coarser_select(meter, grain, finer)))
    store.command(
        _view_statement(
            meter, "minute", minute_select(meter, stored=f"stored_at >= {_instant_literal(meter.visible_from)}")
        )
    )


def drop_rollup(store: Store, rollup: str) -> None:
    """Drop the views and then the tables. The finest view goes first, so that no insert enters half a chain."""
    for grain in GRAINS:
        store.command(f"DROP VIEW IF EXISTS {sql.identifier(f'{rollup}_{grain}_view')}")
    for grain in GRAINS:
        store.command(f"DROP TABLE IF EXISTS {sql.identifier(f'{rollup}_{grain}')}")


def minute_select(meter: Meter, stored: str) -> str:
    """Return the SELECT that turns events into minute rows.

    Args: stored: an SQL condition on `stored_at` and `time`; only the events for which it holds are read.
    """
    names = dimension_columns(meter)
    return sql.statement(
        "meters/minute_select",
        dimensions="".join(f"{name}, " for name in names),
        columns=", ".join(f"{column.from_events} AS {column.name}" for column in meter.spec.columns),
        extracted=render_extraction(meter, meter.dimensions),
        event_type=sql.literal(meter.definition.event_type),
        stored=stored,
        dimension_names=_with_leading_commas(names),
    )


def render_extraction(meter: Meter, keys: Collection[str]) -> str:
    """Return the select list that extracts these group-by keys, the text and the value from an event's data."""
    parts = [
        f"{json_expression(meter.definition.group_by[key])} AS {meter.dimension(key)}"
        for key in meter.dimensions
        if key in keys
    ]
    if meter.definition.value_property is not None:
        parts.append(f"{json_expression(meter.definition.value_property)} AS text")
        if meter.definition.aggregation is not Aggregation.UNIQUE_COUNT:  # it counts texts
            parts.append(f"{sql.statement('usage/number', text='text')} AS value")
    return ", ".join(parts or ["1"])


def dimension_columns(meter: Meter) -> list[str]:
    """Return the names of the rollup's dimension columns: d0, d1, …"""
    return [meter.dimension(key) for key in meter.dimensions]


def _table_statement(meter: Meter, grain: str) -> str:
    names = dimension_columns(meter)
    return sql.statement(
        "meters/rollup_table",
        table=sql.identifier(meter.table(grain)),
        dimensions="".join(f"{name} String, " for name in names),
        columns=", ".join(f"{column.name} {column.type}" for column in meter.spec.columns),
        dimension_names=_with_leading_commas(names),
        dedup_window=str(DEDUPLICATION_WINDOW),
    )


def _view_statement(meter: Meter, grain: str, select: str) -> str:
    return sql.statement(
        "meters/rollup_view",
        view=sql.identifier(f"{meter.table(grain)}_view"),
        table=sql.identifier(meter.table(grain)),
        select=select,
    )


def _coarser_select(meter: Meter, grain: str, finer: str) -> str:
    names = dimension_columns(meter)
    return sql.statement(
        "meters/coarser_select",
        coarsen=_COARSEN_FUNCTIONS[grain],
        dimensions="".join(f"{name}, " for name in names),
        columns=", ".join(f"{column.from_rollup} AS {column.name}" for column in meter.spec.columns),
        source=sql.identifier(meter.table(finer)),
        dimension_names=_with_leading_commas(names),
    )


def _with_leading_commas(names: list[str]) -> str:
    return "".join(f", {name}" for name in names)


def _instant_literal(instant: datetime) -> str:
    # The instant is truncated exactly as in the fill, so that view and fill neither overlap nor leave a gap.
    return f"fromUnixTimestamp64Milli({milliseconds(instant)}, 'UTC')"
