"""The SQL statement that answers a usage query: its groups, their windows and their order.

Owns: the assembly of the statement, and the text of a row's window. Generated columns are named d0, d1, …, so that a
group-by key cannot be mistaken for a column.
Source: docs/design.md R17–R21 (queries); docs/contract.md "Answers".
"""

from dataclasses import replace

from engine.instants import BEGINNING, DAY_SECONDS, END, parse_instant, timestamp_text
from engine.meters.meter import Meter
from engine.store import sql
from engine.store.clickhouse import Store
from engine.usage.query import UsageQuery
from engine.usage.sources import Sources
from engine.usage.timeline import Timeline
from engine.usage.windows import WindowSize

# A range wider than this is narrowed to the days with events of the meter before its windows are listed.
_WIDE_RANGE_MS = 1000 * DAY_SECONDS * 1000


def range_to_read(store: Store, meter: Meter, query: UsageQuery) -> tuple[int, int]:
    """Return the half-open range that a query has to read, in Unix milliseconds; its windows can be listed.

    A wide range is narrowed to the UTC days that have events now. The statement then leaves out events that arrive
    later and lie outside of these days. Without that, they would be counted in the window at the edge.
    """
    from_ms, to_ms = _possible_range(meter, query)
    if query.window_size in {None, WindowSize.MINUTE} or to_ms - from_ms <= _WIDE_RANGE_MS:
        return from_ms, to_ms
    all_time = UsageStatement(meter, replace(query, window_size=None), (BEGINNING * 1000, END * 1000))
    (span,) = store.rows(
        sql.statement("usage/span", segments=all_time.render_segments(with_minutes=True)), **all_time.parameters
    )
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
    """A usage statement under construction. `parameters` are the values that it binds, `grains` what answers it.

    `fixed_subject`: the subject of every row, if it is known without asking; then no row contains it.
    """

    def __init__(self, meter: Meter, query: UsageQuery, range_ms: tuple[int, int], fix_subject: bool = False) -> None:
        """Create the statement of a query.

        Args: range_ms: the half-open range to read, in Unix milliseconds, as `range_to_read` returns it. fix_subject:
            whether the rows may be without their subject if there is only one.
        """
        self._meter, self._query, self._range_ms = meter, query, range_ms
        self._timeline = Timeline(query.window_size, query.zone, range_ms[0] // 1000, range_ms[1] // 1000)
        self._sources = Sources(meter, query, range_ms, self._timeline)
        self._kept_groups: int | None = None
        self.parameters = self._sources.parameters
        self.grains = self._sources.grains
        self.fixed_subject = self._known_subject() if fix_subject else None

    def render(self, groups: str, ordered: bool = True, max_rows: int | None = None) -> str:
        """Return the SQL text of the statement.

        Args: groups: as `render_groups` returns them. max_rows: the statement returns at most one row more than this,
            so that the caller can see that there are too many.
        """
        keys = self._keys()
        self.parameters |= {**self._timeline.parameters, "row_limit": 0 if max_rows is None else max_rows + 1}
        return sql.statement(
            "usage/usage",
            groups=groups,
            order=f"ORDER BY {', '.join(keys)}" if keys and ordered else "",
            limit="" if max_rows is None else "LIMIT {row_limit:UInt64}",
            most_groups=str(self._max_groups(max_rows)),
        )

    def render_groups(self, output: str) -> str:
        """Return a SELECT with one row for each group that has a value. Args: output: its select list."""
        spec, keys = self._meter.spec, self._keys()
        return sql.statement(
            "usage/groups",
            output=output,
            source=self._render_source(),
            grouping=f"GROUP BY {', '.join(keys)}" if keys else "",
            having=f"HAVING {spec.present}" if spec.present else "",
        )

    def render_segments(self, with_minutes: bool = False) -> str:
        """Return a SELECT of the rows that the groups consist of. Args: with_minutes: see `Sources.union`."""
        return self._sources.union([key for key in self._keys() if key != "start"], with_minutes)

    def window_seconds(self) -> str:
        """Return the part of the select list of `render_groups` that tells a group's window, for `window_texts`."""
        if self.is_open_total:
            return "toUnixTimestamp(min(first_minute)) AS start, toUnixTimestamp(max(last_minute)) + 60 AS end"
        return f"{self._start()} AS start"

    def minute_texts(self) -> str:
        """Return the part of the select list of `render_groups` for both ends of a MINUTE window as RFC 3339 text."""
        ends = {"windowStart": f"({self._start()} AS start)", "windowEnd": "start + 60"}
        return ", ".join(f"{self._timeline.sql_text(end)} AS {name}" for name, end in ends.items())

    def window_texts(self, start: int, end: int = 0) -> tuple[str, str]:
        """Return both ends of a group's window as RFC 3339 text. Args: its `window_seconds`."""
        if self._query.window_size:
            return self._timeline.text(start), self._timeline.text(self._timeline.end(start))
        from_, to = self._query.from_, self._query.to
        return from_.text if from_ else timestamp_text(start * 1000), to.text if to else timestamp_text(end * 1000)

    def count_groups(self, store: Store) -> int:
        """Return how many groups have a value in the whole range."""
        ((count,),) = store.rows(f"SELECT count() FROM (\n{self._render_totals()}\n)", **self.parameters)
        return int(count)

    def keep_largest(self, groups: int) -> None:
        """Answer only the `groups` largest groups of the whole range, and all other groups together as one."""
        self._kept_groups = groups
        self.parameters["largest"] = groups

    def _max_groups(self, max_rows: int | None) -> int:
        """Return how many groups ClickHouse may compute before it stops with an error; 0 means any number.

        If every group is a row of the answer, more groups than `max_rows` are too many. If a group may have no value
        and hence no row, all groups must be computed.
        """
        return 0 if max_rows is None or self._meter.spec.present or self._kept_groups is not None else max_rows

    @property
    def _reads_one_table(self) -> bool:
        return self._kept_groups is None and self._sources.table() is not None

    def _render_source(self) -> str:
        """Return what the groups are computed from: a table if it alone answers, otherwise a subquery."""
        if self._kept_groups is not None:
            return f"(\n{self._render_largest_groups()}\n)"
        return self._sources.table() or f"(\n{self.render_segments(with_minutes=self.is_open_total)}\n)"

    def _render_totals(self) -> str:
        """Return a SELECT with one row for each group: its keys and its usage in the whole range."""
        fixed = self.fixed_subject is not None
        unwindowed = UsageStatement(self._meter, replace(self._query, window_size=None), self._range_ms, fixed)
        return unwindowed.render_groups(f"{', '.join(unwindowed._keys())}, {self._meter.spec.value} AS usage")

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
            segments=self.render_segments(with_minutes=self.is_open_total),
        )

    def _start(self) -> str:
        """Return the expression for the start of a group's window in the select list of `render_groups`."""
        if self._query.window_size is None:
            return "0"
        return self._sources.start if self._reads_one_table else "start"

    def _keys(self) -> list[str]:
        start = ["start"] if self._query.window_size else []
        subject = ["subject"] if "subject" in self._query.group_by and self.fixed_subject is None else []
        return [*start, *subject, *self._dimensions()]

    def _dimensions(self) -> list[str]:
        return [self._meter.dimension(key) for key in self._query.group_by if key != "subject"]

    def _known_subject(self) -> str | None:
        """Return the subject of every row.

        It is None if there may be several subjects, or if nothing else is a key: without a key, a range without events
        has a row, too.
        """
        named = self._query.subjects or ()
        return named[0] if len(named) == 1 and (self._query.window_size or self._dimensions()) else None

    @property
    def is_open_total(self) -> bool:
        """Whether the query is for one window that the first or the last event bounds."""
        return self._query.window_size is None and (self._query.from_ is None or self._query.to is None)
