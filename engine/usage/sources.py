"""What a usage statement reads: each segment of the range from its grain, with the conditions of the query.

Owns: these SELECTs, and the parameters that they bind. Values reach SQL only as bound parameters; the bounds of
segments are numbers of our own.
Source: docs/design.md R17 (segments of a range), R18a (short statements).
"""

from collections.abc import Iterable, Sequence

from engine.filters import Bindings, condition
from engine.meters.meter import Meter, MeterState
from engine.meters.rollups import render_extraction
from engine.store import sql
from engine.usage.grains import Grain, Segment, split
from engine.usage.query import UsageQuery
from engine.usage.timeline import Timeline
from engine.usage.windows import largest_common_step

_ROLLUP_SECOND = "toInt64(toUnixTimestamp(window))"


class Sources:
    """The tables and pieces of tables that answer a query. `parameters` are the values that they bind.

    `grains`: the grains that answer the range. `start`: the SQL expression for the start of a row's window in `table`.
    """

    def __init__(self, meter: Meter, query: UsageQuery, range_ms: tuple[int, int], timeline: Timeline) -> None:
        """Split the range. Args: range_ms: half-open, in Unix milliseconds. timeline: the windows of the query."""
        self._meter, self._timeline = meter, timeline
        self.parameters: dict[str, object] = {"event_type": meter.definition.event_type}
        self._used_keys = {*query.group_by, *query.filters, *query.advanced}
        self._subjects = self._subject_condition(query.subjects)
        self._filters = self._filter_conditions(query)
        from_ms, to_ms = range_ms
        step = largest_common_step(query.window_size, query.zone, from_ms // 1000, to_ms // 1000)
        self._segments = split(from_ms, to_ms, step, meter.state is MeterState.READY) or [Segment("raw", 0, 0)]
        self.grains = tuple(dict.fromkeys(segment.grain for segment in self._segments))
        self.start = timeline.start(_ROLLUP_SECOND)
        self.parameters |= timeline.parameters

    def table(self) -> str | None:
        """Return the table of a rollup, with conditions, if it alone answers the range; otherwise None."""
        (grain, *others) = self.grains
        return None if others or grain == "raw" else self._conditional_table(grain)

    def union(self, keys: Iterable[str], with_minutes: bool) -> str:
        """Return a UNION ALL with one SELECT for each grain.

        Both edges of a grain are in the same SELECT, because most of the time of a short query goes into analysing it.
        Args: keys: the keys of the rows but for `start`. with_minutes: whether the rows have the first and the last
            minute of their events.
        """
        return "\nUNION ALL\n".join(
            self._raw_piece(tuple(keys), with_minutes)
            if grain == "raw"
            else self._rollup_piece(grain, tuple(keys), with_minutes)
            for grain in self.grains
        )

    def _conditional_table(self, grain: Grain) -> str:
        return sql.statement(
            "usage/rollup_source",
            table=sql.identifier(self._meter.table(grain)),
            subjects=self._subjects,
            ranges=self._ranges("window", "{}", grain, 1000),
            filters=self._where(),
        )

    def _rollup_piece(self, grain: Grain, keys: Sequence[str], with_minutes: bool) -> str:
        minutes = ("first_minute", "last_minute") if with_minutes else ()
        columns = (column.name for column in self._meter.spec.columns)
        return sql.statement(
            "usage/rollup_piece",
            columns=", ".join([f"{self.start} AS start", *keys, *minutes, *columns]),
            source=self._conditional_table(grain),
        )

    def _raw_piece(self, keys: Sequence[str], with_minutes: bool) -> str:
        minute = "toStartOfMinute(toDateTime(time, 'UTC'))"
        minutes = (f"min({minute}) AS first_minute", f"max({minute}) AS last_minute") if with_minutes else ()
        columns = (f"{column.from_events} AS {column.name}" for column in self._meter.spec.columns)
        return sql.statement(
            "usage/raw_piece",
            output=", ".join([f"{self._timeline.start('second')} AS start", *keys, *minutes, *columns]),
            extracted=render_extraction(self._meter, self._used_keys),
            subjects=self._subjects,
            ranges=self._ranges("time", "fromUnixTimestamp64Milli({}, 'UTC')", "raw", 1),
            filters=self._where(),
            group=", ".join(["start", *keys]),
        )

    def _ranges(self, column: str, literal: str, grain: Grain, unit_ms: int) -> str:
        """Return the SQL condition that a column lies in a segment of a grain.

        Args: literal: the SQL text of a bound, with `{}` where its number goes. unit_ms: the unit of that number.
        """
        bounds = [(each.from_ms // unit_ms, each.to_ms // unit_ms) for each in self._segments if each.grain == grain]
        ranges = [f"{column} >= {literal.format(first)} AND {column} < {literal.format(end)}" for first, end in bounds]
        return ranges[0] if len(ranges) == 1 else f"({' OR '.join(f'({each})' for each in ranges)})"

    def _where(self) -> str:
        return f"WHERE {' AND '.join(self._filters)}" if self._filters else ""

    def _subject_condition(self, subjects: Sequence[str] | None) -> str:
        """Return the SQL condition on the subject with AND, or "". A list would make a query of one subject slower."""
        if subjects is None:
            return ""
        if len(subjects) == 1:
            self.parameters["subject"] = subjects[0]
            return "subject = {subject:String} AND"
        self.parameters["subjects"] = list(subjects)
        return "subject IN {subjects:Array(String)} AND"

    def _filter_conditions(self, query: UsageQuery) -> list[str]:
        """Return the SQL conditions of the filters.

        None of them is always true, because such a condition would take 5% of a query's time on an idle server.
        """
        bindings = Bindings("advanced")
        conditions = [
            *(
                f"{self._meter.dimension(key)} IN {{filter_{index}:Array(String)}}"
                for index, key in enumerate(query.filters)
            ),
            *(condition(filter_, self._meter.dimension(key), bindings) for key, filter_ in query.advanced.items()),
        ]
        self.parameters |= {f"filter_{index}": list(texts) for index, texts in enumerate(query.filters.values())}
        self.parameters |= bindings.values
        return conditions
