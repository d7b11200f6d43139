"""The SQL statement that answers a usage query: it reads each segment of the range from its grain and merges them once.

Owns: the assembly of the segments into SQL, and the parameters that they bind. Values reach SQL only as bound
parameters. Generated columns are named d0, d1, …, so that a group-by key cannot be mistaken for a column.
Source: docs/design.md R17–R21 (queries); docs/contract.md "Answers".
"""

from collections.abc import Sequence
from dataclasses import replace

from engine.filters import Bindings, condition
from engine.instants import BEGINNING, DAY_SECONDS, END, parse_instant
from engine.meters.meter import Meter, MeterState
from engine.meters.rollups import render_extraction
from engine.store import sql
from engine.store.clickhouse import Store
from engine.usage.grains import Grain, Segment, split
from engine.usage.query import UsageQuery
from engine.usage.timeline import Timeline
from engine.usage.windows import WindowSize, largest_common_step

# A range wider than this is narrowed to the days with events of the meter before its windows are listed.
_WIDE_RANGE_MS = 1000 * DAY_SECONDS * 1000


def _ranges_condition(column: str, literal: str, ranges: Sequence[tuple[int, int]]) -> str:
    """Return the SQL condition that a column lies in one of several half-open ranges.

    Args: literal: the SQL text of a bound, with `{}` where its number goes.
    """
    return " OR ".join(
        f"({column} >= {literal.format(first)} AND {column} < {literal.format(end)})" for first, end in ranges
    )


def range_to_read(store: Store, meter: Meter, query: UsageQuery) -> tuple[int, int]:
    """Return the half-open range that a query has to read, in Unix milliseconds; its windows can be listed.

    A wide range is narrowed to the UTC days that have events now. The statement then leaves out events that arrive
    later and lie outside of these days. Without that, they would be counted in the window at the edge.
    """
    from_ms, to_ms = _possible_range(meter, query)
    if query.window_size in {None, WindowSize.MINUTE} or to_ms - from_ms <= _WIDE_RANGE_MS:
        return from_ms, to_ms
    all_time = UsageStatement(meter, replace(query, window_size=None), (BEGINNING * 1000, END * 1000))
    (span,) = store.rows(sql.statement("usage/span", segments=all_time.render_segments()), **all_time.parameters)
    first_day, last_day = (int(second) // DAY_SECONDS for second in span)
    narrow_from = max(from_ms, first_day * DAY_SECONDS * 1000)
    return narrow_from, max(narrow_from, min(to_ms, (last_day + 1) * DAY_SECONDS * 1000))


def _possible_range(meter: Meter, query: UsageQuery) -> tuple[int, int]:
    """Return the query's range in Unix milliseconds, limited to the times that an event of the meter can have."""
    event_from = meter.definition.event_from
    from_ms = query.from_.ceil_milliseconds if query.from_ else BEGINNING * 1000
    to_ms = query.to.ceil_milliseconds if query.to else END * 1000
    if event_from is not None:
        from_ms = max(from_ms, parse_instant(event_from.isoformat()).ceil_milliseconds)
    from_ms, to_ms = max(from_ms, BEGINNING * 1000), min(to_ms, END * 1000)
    return from_ms, max(from_ms, to_ms)


class UsageStatement:
    """A usage statement under construction: the segments of the range, and the parameters that they bind."""

    def __init__(self, meter: Meter, query: UsageQuery, range_ms: tuple[int, int]) -> None:
        """Args: range_ms: the half-open range to read, in Unix milliseconds, as `range_to_read` returns it."""
        self._meter, self._query, self._range_ms = meter, query, range_ms
        self._kept_groups: int | None = None
        self.parameters: dict[str, object] = {"event_type": meter.definition.event_type}
        if query.subjects is not None:
            self.parameters["subjects"] = list(query.subjects)
        for index, texts in enumerate(query.filters.values()):
            self.parameters[f"filter_{index}"] = list(texts)
        self._filters = self._filter_conditions()
        from_ms, to_ms = range_ms
        first, last = from_ms // 1000, to_ms // 1000
        self._timeline = Timeline(query.window_size, query.zone, first, last)
        self.parameters |= self._timeline.parameters
        step = largest_common_step(query.window_size, query.zone, first, last)
        self._segments = split(from_ms, to_ms, step, meter.state is MeterState.READY) or [Segment("raw", 0, 0)]
        self.grains = tuple(dict.fromkeys(segment.grain for segment in self._segments))
        self.start_text, self.end_text = self._window_texts()

    def render(self, output: str, join: str = "", ordered: bool = True, max_rows: int | None = None) -> str:
        """Return the SQL text of the statement.

        Args: output: the select list. join: a SQL join, or "". max_rows: the statement returns at most one row more
            than this, so that the caller can see that there are too many.
        """
        spec, keys = self._meter.spec, self._keys()
        self.parameters["row_limit"] = 0 if max_rows is None else max_rows + 1
        return sql.statement(
            "usage/usage",
            output=output,
            keys="".join(f"{key}, " for key in keys),
            value=spec.value,
            segments=self.render_segments() if self._kept_groups is None else self._render_largest_groups(),
            grouping=f"GROUP BY {', '.join(keys)}" if keys else "",
            having=f"HAVING {spec.present}" if spec.present else "",
            join=join,
            order=f"ORDER BY {', '.join(keys)}" if keys and ordered else "",
            limit="" if max_rows is None else "LIMIT {row_limit:UInt64}",
            most_groups=str(self._max_groups(max_rows)),
        )

    def _max_groups(self, max_rows: int | None) -> int:
        """Return how many groups ClickHouse may compute before it stops with an error; 0 means any number.

        If every group is a row of the answer, more groups than `max_rows` are too many. If a group may have no value
        and hence no row, all groups must be computed.
        """
        return 0 if max_rows is None or self._meter.spec.present or self._kept_groups is not None else max_rows

    def count_groups(self, store: Store) -> int:
        """Return how many groups have a value in the whole range."""
        ((count,),) = store.rows(f"SELECT count() FROM (\n{self._render_totals()}\n)", **self.parameters)
        return int(count)

    def keep_largest(self, groups: int) -> None:
        """Answer only the `groups` largest groups of the whole range, and all other groups together as one."""
        self._kept_groups = groups
        self.parameters["largest"] = groups

    def _render_totals(self) -> str:
        """Return a SELECT with one row for each group: its keys and its usage in the whole range."""
        unwindowed = UsageStatement(self._meter, replace(self._query, window_size=None), self._range_ms)
        spec = self._meter.spec
        return sql.statement(
            "usage/group_totals",
            keys=", ".join(unwindowed._keys()),
            value=spec.value,
            segments=unwindowed.render_segments(),
            having=f"HAVING {spec.present}" if spec.present else "",
        )

    def _render_largest_groups(self) -> str:
        """Return a SELECT of the segments in which the keys of all but the largest groups are NULL.

        If the query names exactly one subject, the subject stays in every row.
        """
        keys = [key for key in self._keys() if key != "start"]
        replaced = [key for key in keys if key != "subject" or len(self._query.subjects or ()) != 1]
        return sql.statement(
            "usage/largest_groups",
            keys=", ".join(keys),
            replaced=", ".join(f"if(is_largest, {key}, NULL) AS {key}" for key in replaced),
            totals=self._render_totals(),
            segments=self.render_segments(),
        )

    def render_segments(self) -> str:
        """Return a UNION ALL with one SELECT for each grain.

        Both edges of a grain are in the same SELECT, because most of the time of a short query goes into analysing it.
        """
        return "\nUNION ALL\n".join(
            self._render_grain(grain, [segment for segment in self._segments if segment.grain == grain])
            for grain in self.grains
        )

    def _dimensions(self) -> list[str]:
        return [self._meter.dimension(key) for key in self._query.group_by if key != "subject"]

    def _keys(self) -> list[str]:
        start = ["start"] if self._query.window_size else []
        subject = ["subject"] if "subject" in self._query.group_by else []
        return [*start, *subject, *self._dimensions()]

    def _window_texts(self) -> tuple[str, str]:
        """Return the SQL expressions for the start and the end of a row's window, as RFC 3339 text."""
        if self._query.window_size:
            return self._timeline.start_text, self._timeline.end_text
        bounds = []
        for name, bound, column in (
            ("from", self._query.from_, "first_event_minute"),
            ("to", self._query.to, "last_event_minute + 60"),
        ):
            if bound is None:
                bounds.append(f"formatDateTime({column}, '%Y-%m-%dT%H:%i:%SZ', 'UTC')")
            else:
                self.parameters[f"{name}_text"] = bound.text
                bounds.append(f"{{{name}_text:String}}")
        return bounds[0], bounds[1]

    def _render_grain(self, grain: Grain, segments: Sequence[Segment]) -> str:
        """Return the SELECT that reads segments of one grain."""
        common = {
            "keys": "".join(f"{key}, " for key in self._keys() if key != "start"),
            "subjects": "subject IN {subjects:Array(String)} AND" if self._query.subjects is not None else "",
        }
        columns = self._meter.spec.columns
        if grain == "raw":
            return sql.statement(
                "usage/raw_piece",
                **common,
                start=self._timeline.start("second"),
                columns=", ".join(f"{column.from_events} AS {column.name}" for column in columns),
                extracted=render_extraction(self._meter),
                filters=f"WHERE {' AND '.join(self._filters)}" if self._filters else "",
                ranges=_ranges_condition(
                    "time",
                    "fromUnixTimestamp64Milli({}, 'UTC')",
                    [(segment.from_ms, segment.to_ms) for segment in segments],
                ),
                group=", ".join(["start", *(key for key in self._keys() if key != "start")]),
            )
        seconds = [(segment.from_ms // 1000, segment.to_ms // 1000) for segment in segments]
        return sql.statement(
            "usage/rollup_piece",
            **common,
            start=self._timeline.start("toInt64(toUnixTimestamp(window))"),
            columns=", ".join(column.name for column in columns),
            table=sql.identifier(self._meter.table(grain)),
            ranges=_ranges_condition("window", "toDateTime({}, 'UTC')", seconds),
            filters="".join(f" AND {each}" for each in self._filters),
        )

    def _filter_conditions(self) -> list[str]:
        """Return the SQL conditions of the filters.

        None of them is always true, because such a condition would take 5% of a query's time on an idle server.
        """
        bindings = Bindings("advanced")
        conditions = [
            *(
                f"{self._meter.dimension(key)} IN {{filter_{index}:Array(String)}}"
                for index, key in enumerate(self._query.filters)
            ),
            *(
                condition(filter_, self._meter.dimension(key), bindings)
                for key, filter_ in self._query.advanced.items()
            ),
        ]
        self.parameters |= bindings.values
        return conditions
