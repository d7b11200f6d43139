"""One statement that answers a question: the pieces of its range, each from its grain, merged once.

Owns: the assembly of the pieces into SQL, and the parameters they bind. Values reach SQL as bound parameters only;
generated columns are d0, d1, …, so that no group-by key can be taken for a column.
Source: docs/design.md R17–R21; docs/contract.md "Answers".
"""

from collections.abc import Sequence
from dataclasses import replace

from engine.filters import Bindings, condition
from engine.instants import BEGINNING, DAY_SECONDS, END, parse_instant
from engine.meters.meter import Meter, MeterState
from engine.meters.rollups import extraction
from engine.store import sql
from engine.store.clickhouse import Store
from engine.usage.grains import Grain, Segment, plan
from engine.usage.query import UsageQuery
from engine.usage.timeline import Timeline
from engine.usage.windows import WindowSize, finest_step

_WIDE_MS = (
    1000 * DAY_SECONDS * 1000
)  # a range this wide is narrowed to the meter's events before its days are counted out


def _any_of(column: str, instant: str, ranges: Sequence[tuple[int, int]]) -> str:
    """Return the condition that a column lies in one of some half-open ranges of numbers that `instant` reads."""
    return " OR ".join(
        f"({column} >= {instant.format(first)} AND {column} < {instant.format(end)})" for first, end in ranges
    )


class UsageStatement:
    """One usage statement under construction: the pieces of the range, the parameters they bind."""

    def __init__(self, store: Store, meter: Meter, query: UsageQuery) -> None:
        self._store, self._meter, self._query = store, meter, query
        self._largest: int | None = None
        self.parameters: dict[str, object] = {"event_type": meter.definition.eventType}
        if query.subjects is not None:
            self.parameters["subjects"] = list(query.subjects)
        for at, texts in enumerate(query.filters.values()):
            self.parameters[f"filter_{at}"] = list(texts)
        self._filters = self._filter_conditions()
        from_ms, to_ms = self._narrowed(store, *self._range())
        first, last = from_ms // 1000, to_ms // 1000
        self._timeline = Timeline(query.window_size, query.zone, first, last)
        self.parameters |= self._timeline.parameters
        step = finest_step(query.window_size, query.zone, first, last)
        self._pieces = plan(from_ms, to_ms, step, meter.state is MeterState.READY) or [Segment("raw", 0, 0)]
        self.grains = tuple(dict.fromkeys(piece.grain for piece in self._pieces))
        self.start_text, self.end_text = self._window_texts()

    def render(self, output: str, joined: str = "", ordered: bool = True, most_rows: int | None = None) -> str:
        """Return the statement. Args: most_rows: one row more than so many is answered, so that it can be seen."""
        spec, keys = self._meter.spec, self._keys()
        self.parameters["row_limit"] = 0 if most_rows is None else most_rows + 1
        return sql.statement(
            "usage/usage",
            output=output,
            keys="".join(f"{key}, " for key in keys),
            value=spec.value,
            pieces=self.pieces() if self._largest is None else self._with_others(),
            grouping=f"GROUP BY {', '.join(keys)}" if keys else "",
            having=f"HAVING {spec.present}" if spec.present else "",
            joined=joined,
            order=f"ORDER BY {', '.join(keys)}" if keys and ordered else "",
            limit="" if most_rows is None else "LIMIT {row_limit:UInt64}",
            most_groups=str(self._most_groups(most_rows)),
        )

    def _most_groups(self, most_rows: int | None) -> int:
        """Return how many groups the engine may make before it gives up, 0 for any number.

        Where each group is a row of the answer it need not go on; where some have no value, they must all be made.
        """
        return 0 if most_rows is None or self._meter.spec.present or self._largest is not None else most_rows

    # the largest groups

    def count_groups(self, store: Store) -> int:
        """Return how many groups there are with a value in the whole range."""
        ((count,),) = store.rows(f"SELECT count() FROM (\n{self._totals()}\n)", **self.parameters)
        return int(count)

    def keep_largest(self, groups: int) -> None:
        """Answer the usage of so many groups, the largest in the whole range, and of all others together."""
        self._largest = groups
        self.parameters["largest"] = groups

    def _totals(self) -> str:
        """Return one row a group: its keys and its usage in the whole range."""
        unwindowed = UsageStatement(self._store, self._meter, replace(self._query, window_size=None))
        spec = self._meter.spec
        return sql.statement(
            "usage/group_totals",
            keys=", ".join(unwindowed._keys()),
            value=spec.value,
            pieces=unwindowed.pieces(),
            having=f"HAVING {spec.present}" if spec.present else "",
        )

    def _with_others(self) -> str:
        """Return the pieces, the keys of all but the largest groups being NULL in them. One subject stays named."""
        keys = [key for key in self._keys() if key != "start"]
        lost = [key for key in keys if key != "subject" or len(self._query.subjects or ()) != 1]
        return sql.statement(
            "usage/largest_groups",
            keys=", ".join(keys),
            replaced=", ".join(f"if(is_largest, {key}, NULL) AS {key}" for key in lost),
            totals=self._totals(),
            pieces=self.pieces(),
        )

    def pieces(self) -> str:
        """Return one SELECT a grain: both its edges in one, for a statement's time goes into being understood."""
        return "\nUNION ALL\n".join(
            self._select(grain, [piece for piece in self._pieces if piece.grain == grain]) for grain in self.grains
        )

    def _range(self) -> tuple[int, int]:
        """Return the range in milliseconds, within the times an event can have."""
        query, event_from = self._query, self._meter.definition.eventFrom
        from_ms = query.from_.ceil_milliseconds if query.from_ else BEGINNING * 1000
        to_ms = query.to.ceil_milliseconds if query.to else END * 1000
        if event_from is not None:
            from_ms = max(from_ms, parse_instant(event_from.isoformat()).ceil_milliseconds)
        from_ms, to_ms = max(from_ms, BEGINNING * 1000), min(to_ms, END * 1000)
        return from_ms, max(from_ms, to_ms)

    def _narrowed(self, store: Store, from_ms: int, to_ms: int) -> tuple[int, int]:
        """Return a range whose windows can be counted out: of a wide one the days (UTC) that hold events by now.

        What arrives outside of them after this look is not asked for, or it would be given to the window at their edge.
        """
        if self._query.window_size in {None, WindowSize.MINUTE} or to_ms - from_ms <= _WIDE_MS:
            return from_ms, to_ms
        rolled_up = self._meter.state is MeterState.READY
        self._timeline = Timeline(None, "UTC", BEGINNING, END)
        whole = Segment("day" if rolled_up else "raw", BEGINNING * 1000, END * 1000)
        (span,) = store.rows(sql.statement("usage/span", pieces=self._select(whole.grain, [whole])), **self.parameters)
        first_day, last_day = (int(second) // DAY_SECONDS for second in span)
        narrow_from = max(from_ms, first_day * DAY_SECONDS * 1000)
        return narrow_from, max(narrow_from, min(to_ms, (last_day + 1) * DAY_SECONDS * 1000))

    def _dimensions(self) -> list[str]:
        return [self._meter.dimension(key) for key in self._query.group_by if key != "subject"]

    def _keys(self) -> list[str]:
        start = ["start"] if self._query.window_size else []
        subject = ["subject"] if "subject" in self._query.group_by else []
        return [*start, *subject, *self._dimensions()]

    def _window_texts(self) -> tuple[str, str]:
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

    def _select(self, grain: Grain, pieces: Sequence[Segment]) -> str:
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
                extracted=extraction(self._meter),
                filters=f"WHERE {' AND '.join(self._filters)}" if self._filters else "",
                ranges=_any_of(
                    "time", "fromUnixTimestamp64Milli({}, 'UTC')", [(piece.from_ms, piece.to_ms) for piece in pieces]
                ),
                group=", ".join(["start", *(key for key in self._keys() if key != "start")]),
            )
        seconds = [(piece.from_ms // 1000, piece.to_ms // 1000) for piece in pieces]
        return sql.statement(
            "usage/rollup_piece",
            **common,
            start=self._timeline.start("toInt64(toUnixTimestamp(window))"),
            columns=", ".join(column.name for column in columns),
            table=sql.identifier(self._meter.table(grain)),
            ranges=_any_of("window", "toDateTime({}, 'UTC')", seconds),
            filters="".join(f" AND {each}" for each in self._filters),
        )

    def _filter_conditions(self) -> list[str]:
        """Return the conditions of the filters; a condition that is always true would cost a quiet question a 20th."""
        given = Bindings("advanced")
        conditions = [
            *(
                f"{self._meter.dimension(key)} IN {{filter_{at}:Array(String)}}"
                for at, key in enumerate(self._query.filters)
            ),
            *(condition(filter_, self._meter.dimension(key), given) for key, filter_ in self._query.advanced.items()),
        ]
        self.parameters |= given.values
        return conditions
