"""The aggregations: which columns each one keeps in a rollup, and how rows are merged into an answer.

Source: docs/contract.md, "Meters"; docs/design.md R12 (tables of a meter).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Aggregation(StrEnum):
    """How a meter turns events into usage."""

    SUM = "SUM"
    COUNT = "COUNT"
    AVG = "AVG"
    MIN = "MIN"
    MAX = "MAX"
    UNIQUE_COUNT = "UNIQUE_COUNT"
    LATEST = "LATEST"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a rollup.

    `from_events` is the SQL expression that computes the column from extracted events. In it, `value` is the number and
    `text` is the text at the value property. `from_rollup` computes it from the same column of a finer grain.
    """

    name: str
    type: str
    from_events: str
    from_rollup: str


@dataclass(frozen=True, slots=True)
class AggregationSpec:
    """The columns that an aggregation keeps in a rollup row, and how rows are merged into an answer.

    `value` is the SQL expression that merges rows. `present` is the condition under which a window has a value; None
    means that it always has one.
    """

    columns: tuple[Column, ...]
    value: str
    present: str | None


_NUMBER = "Decimal(76, 19)"


_TOTALS = (
    Column(
        "total",
        f"SimpleAggregateFunction(sum, {_NUMBER})",
        "sum(ifNull(value, toDecimal256(0, 19)))",
        "sum(finer.total)",
    ),
    Column("valued", "SimpleAggregateFunction(sum, UInt64)", "count(value)", "sum(finer.valued)"),
)


def _extreme_spec(function: str) -> AggregationSpec:
    kind = f"SimpleAggregateFunction({function}, Nullable({_NUMBER}))"
    column = Column("extreme", kind, f"{function}(value)", f"{function}(finer.extreme)")
    return AggregationSpec((column,), f"{function}(extreme)", f"isNotNull({function}(extreme))")


AGGREGATIONS: Mapping[Aggregation, AggregationSpec] = {
    Aggregation.COUNT: AggregationSpec(
        (Column("n", "SimpleAggregateFunction(sum, UInt64)", "count()", "sum(finer.n)"),), "sum(n)", None
    ),
    Aggregation.SUM: AggregationSpec(_TOTALS, "sum(total)", "sum(valued) > 0"),
    Aggregation.AVG: AggregationSpec(
        _TOTALS,
        "if(sum(valued) > 0, divideDecimal(sum(total), toDecimal256(greatest(sum(valued), 1), 0), 19), NULL)",
        "sum(valued) > 0",
    ),
    Aggregation.MIN: _extreme_spec("min"),
    Aggregation.MAX: _extreme_spec("max"),
    Aggregation.UNIQUE_COUNT: AggregationSpec(
        (
            Column(
                "texts",
                "AggregateFunction(uniqExact, Nullable(String))",
                "uniqExactState(nullIf(text, 'null'))",
                "uniqExactMergeState(finer.texts)",
            ),
        ),
        "uniqExactMerge(texts)",
        None,
    ),
    Aggregation.LATEST: AggregationSpec(
        (
            Column(
                "latest",
                f"AggregateFunction(argMax, Nullable({_NUMBER}), Tuple(DateTime64(3, 'UTC'), Int32, Int64))",
                "argMaxState(value, (time, log_partition, log_offset))",
                "argMaxMergeState(finer.latest)",
            ),
        ),
        "argMaxMerge(latest)",
        "isNotNull(argMaxMerge(latest))",
    ),
}
