"""Usage of one meter: a question, the SQL that answers it, and the answer as ClickHouse framed it.

Owns: `UsageQuery`, `Answer`, and the assembly of pieces into one statement. Rows are formatted by ClickHouse, so a
query costs Python the same for three rows and for thirty thousand. Values reach SQL as bound parameters only;
generated columns are d0, d1, …, so that no group-by key can be taken for a column.
Source: docs/design.md R17–R21; docs/contract.md "Answers".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from engine import sql
from engine.errors import InvalidRequest
from engine.filters import Bindings, Filter, condition
from engine.instants import Instant, parse_instant
from engine.meters import Aggregation, Meter, MeterState
from engine.planner import Grain, Piece, plan
from engine.rollups import extraction
from engine.store import Store
from engine.timeline import Timeline
from engine.windows import BEGINNING, DAY_SECONDS, END, WindowSize, finest_step, zone

_WIDE_MS = (
    1000 * DAY_SECONDS * 1000
)  # a range this wide is narrowed to the meter's events before its days are counted out
_ROWS = frozenset({Aggregation.COUNT, Aggregation.UNIQUE_COUNT})


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What is asked of a meter.

    `subjects`: None is all; naming some also groups by subject. `filters`: a group-by key and the texts it may have.
    `advanced`: a group-by key and the filter its text must pass; never both of them.
    `group_by`: group-by keys or "subject", in the order wanted.
    """

    from_: Instant | None = None
    to: Instant | None = None
    window_size: WindowSize | None = None
    zone: str = "UTC"
    subjects: tuple[str, ...] | None = None
    group_by: tuple[str, ...] = ()
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    advanced: Mapping[str, Filter] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """`rows` is a JSON array, or CSV lines with their header; `grains` says what answered it."""

    rows: bytes
    grains: tuple[Grain, ...]


def check_query(query: UsageQuery, meter: Meter) -> UsageQuery:
    """Return the query as it is run: subject in the group-by when subjects are named.

    Raises: InvalidRequest: names the parameter.
    """
    zone(query.zone)
    if query.from_ is not None and query.to is not None:
        if query.from_.nanos == query.to.nanos:
            raise InvalidRequest("from and to cannot be equal")
        if query.from_.nanos > query.to.nanos:
            raise InvalidRequest("from must be before to")
    known = {*meter.dimensions, "subject"}
    for key in query.group_by:
        if key not in known:
            raise InvalidRequest(f"invalid group by: {key}")
    for key, texts in query.filters.items():
        if key not in meter.dimensions:
            raise InvalidRequest(f"invalid group by filter: {key}")
        if "" in texts:
            raise InvalidRequest(f"invalid group by filter: {key}: filter is invalid: format mismatch")
    for key in query.advanced:
        if key not in meter.dimensions:
            raise InvalidRequest(f"meter does not have group by: {key}")
    group_by = tuple(dict.fromkeys(query.group_by))
    if query.subjects is not None and "subject" not in group_by:
        group_by = ("subject", *group_by)
    return replace(query, group_by=group_by)


def ask_json(store: Store, meter: Meter, query: UsageQuery) -> Answer:
    """Answer a checked query as a JSON array of rows."""
    statement = _Statement(store, meter, query)
    keys = [key for key in query.group_by if key != "subject"]
    pairs = ", ".join(f"{{key_{at}:String}}, {meter.dimension(key)}" for at, key in enumerate(keys))
    group_by = f"map({pairs})" if keys else "CAST(map(), 'Map(String, String)')"
    subject = "subject" if "subject" in query.group_by else "CAST(NULL, 'Nullable(String)')"
    output = (
        f"usage AS value, {statement.start_text} AS windowStart, {statement.end_text} AS windowEnd, "
        f"{subject} AS subject, {group_by} AS groupBy"
    )
    names = {f"key_{at}": key for at, key in enumerate(keys)}
    rows = store.text(statement.render(output), "JSONEachRow", {**statement.parameters, **names})
    return Answer(rows.strip(), statement.grains)


def ask_csv(store: Store, meter: Meter, query: UsageQuery) -> Answer:
    """Answer a checked query as CSV lines under a header; LF ends each line.

    Subjects are named beside their keys if at least one of the answer was given a name or metadata.
    """
    statement = _Statement(store, meter, query)
    joined = _names_joined(store, statement, query)
    columns = {key: meter.dimension(key) for key in query.group_by if key != "subject"}
    if "subject" in query.group_by:
        named = {"subject_display_name": "ifNull(display_name, '')"} if joined else {}
        columns = {"subject": "subject", **named, **columns}
    values = map(_csv_field, columns.values())
    line = "concat(" + ", ',', ".join([statement.start_text, statement.end_text, *values, "toString(usage)"]) + ")"
    rows = store.text(statement.render(f"{line} AS line", joined), "TSVRaw", statement.parameters)
    header = ",".join(["window_start", "window_end", *columns, "value"])
    return Answer(header.encode() + b"\n" + rows, statement.grains)


def _names_joined(store: Store, statement: "_Statement", query: UsageQuery) -> str:
    """Return the join that names the subjects of an answer, nothing if none of them has a name or metadata."""
    if "subject" not in query.group_by:
        return ""
    statement.parameters["keys"] = list(query.subjects or ())
    names = sql.statement("subjects/names")
    if not store.rows(f"{names} LIMIT 1", **statement.parameters):
        return ""
    joined = sql.statement("usage/named", names=names)
    (known,) = store.rows(statement.render("max(named.key != '')", joined, ordered=False), **statement.parameters)
    return joined if known[0] else ""


def distinct_values(store: Store, meter: Meter, key: str, query: UsageQuery) -> list[str]:
    """Return the distinct subjects ("subject") or values of a group-by key in a range, sorted."""
    statement = _Statement(store, meter, replace(query, group_by=(key,)))
    column = "subject" if key == "subject" else meter.dimension(key)
    rendered = sql.statement("usage/distinct", key=column, pieces=statement.pieces())
    return [str(row[0]) for row in store.rows(rendered, **statement.parameters)]


def _csv_field(column: str) -> str:
    """Quote where RFC 4180 asks for it."""
    quoted = f"""concat('"', replaceAll({column}, '"', '""'), '"')"""
    return f"""if(match({column}, '[",\\\\r\\\\n]|^\\\\s'), {quoted}, {column})"""


def _any_of(column: str, instant: str, ranges: Sequence[tuple[int, int]]) -> str:
    """Return the condition that a column lies in one of some half-open ranges of numbers that `instant` reads."""
    return " OR ".join(
        f"({column} >= {instant.format(first)} AND {column} < {instant.format(end)})" for first, end in ranges
    )


class _Statement:
    """One usage statement under construction: the pieces of the range, the parameters they bind."""

    def __init__(self, store: Store, meter: Meter, query: UsageQuery) -> None:
        self._meter, self._query = meter, query
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
        self._pieces = plan(from_ms, to_ms, step, meter.state is MeterState.READY) or [Piece("raw", 0, 0)]
        self.grains = tuple(dict.fromkeys(piece.grain for piece in self._pieces))
        self.start_text, self.end_text = self._window_texts()

    def render(self, output: str, joined: str = "", ordered: bool = True) -> str:
        spec, keys = self._meter.spec, self._keys()
        return sql.statement(
            "usage/usage",
            output=output,
            keys="".join(f"{key}, " for key in keys),
            value=spec.value,
            pieces=self.pieces(),
            grouping=f"GROUP BY {', '.join(keys)}" if keys else "",
            having=f"HAVING {spec.present}" if spec.present else "",
            joined=joined,
            order=f"ORDER BY {', '.join(keys)}" if keys and ordered else "",
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
        whole = Piece("day" if rolled_up else "raw", BEGINNING * 1000, END * 1000)
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

    def _select(self, grain: Grain, pieces: Sequence[Piece]) -> str:
        common = {
            "keys": "".join(f"{key}, " for key in self._keys() if key != "start"),
            "subjects": "subject IN {subjects:Array(String)} AND" if self._query.subjects is not None else "",
            "filters": self._filters,
        }
        columns = self._meter.spec.columns
        if grain == "raw":
            return sql.statement(
                "usage/raw_piece",
                **common,
                start=self._timeline.start("second"),
                columns=", ".join(f"{column.from_events} AS {column.name}" for column in columns),
                extracted=extraction(self._meter),
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
        )

    def _filter_conditions(self) -> str:
        given = Bindings("advanced")
        conditions = [
            *(
                f"{self._meter.dimension(key)} IN {{filter_{at}:Array(String)}}"
                for at, key in enumerate(self._query.filters)
            ),
            *(condition(filter_, self._meter.dimension(key), given) for key, filter_ in self._query.advanced.items()),
        ]
        self.parameters |= given.values
        return " AND ".join(["true", *conditions])
