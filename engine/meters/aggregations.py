"""What each aggregation keeps in a row of a rollup, and how rows are merged into an answer.

Source: docs/contract.md, "Meters"; docs/design.md R12.
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

    `from_events` builds it from extracted events (`value` is the number, `text` the text at the value property),
    `from_rollup` from rows of the same column in a finer grain.
    """

    name: str
    type: str
    from_events: str
    from_rollup: str


@dataclass(frozen=True, slots=True)
class AggregationSpec:
    """What an aggregation keeps per rollup row, and how rows are merged into an answer.

    `present` is the condition under which a window has a value at all; None: always.
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


def _extreme(function: str) -> AggregationSpec:
    kind = f"SimpleAggregateFunction({function}, Nullable({_NUMBER}))"
    column = Column("extreme", kind, f"{function}(value)", f"{function}(finer.extreme)")
    return AggregationSpec((column,), f"{function}(extreme)", "isNotNull(usage)")


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
    Aggregation.MIN: _extreme("min"),
    Aggregation.MAX: _extreme("max"),
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
        "isNotNull(usage)",
    ),
}
