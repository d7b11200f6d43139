"""Usage of one meter: a question, and the answer as ClickHouse framed it.

Owns: `Answer`, the bound on its rows, and the text of its rows. Rows are formatted by ClickHouse, so a query costs
Python the same for three rows and for thirty thousand. An answer with too many rows is refused, never cut.
Source: docs/design.md R17–R21; docs/contract.md "Answers".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from engine.errors import StoreError, TooManyRows
from engine.meters.meter import Meter
from engine.store import sql
from engine.store.clickhouse import Store
from engine.usage.grains import Grain
from engine.usage.query import UsageQuery, check_query
from engine.usage.statement import UsageStatement

__all__ = ["Answer", "RowLimit", "UsageQuery", "ask_csv", "ask_json", "check_query"]

_TOO_MANY_GROUPS = 158  # ClickHouse's code of it


@dataclass(frozen=True, slots=True)
class RowLimit:
    """How many rows an answer may have, and the setting that says so."""

    rows: int
    setting: str

    @property
    def refusal(self) -> TooManyRows:
        """What an answer with more rows is refused with."""
        return TooManyRows(
            f"the answer has more than {self.rows} rows, which is the limit {self.setting}: ask for fewer groups, "
            "larger windows, a shorter range, or with a filter"
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """`rows` is a JSON array, or CSV lines with their header; `grains` says what answered it.

    `group_count`: how many groups there are, if the query bounds them.
    """

    rows: bytes
    grains: tuple[Grain, ...]
    group_count: int | None = None


def ask_json(store: Store, meter: Meter, query: UsageQuery, limit: RowLimit | None = None) -> Answer:
    """Answer a checked query as a JSON array of rows. Raises: TooManyRows: it has more than the limit."""
    statement = UsageStatement(store, meter, query)
    keys = [key for key in query.group_by if key != "subject"]
    pairs = ", ".join(f"{{key_{at}:String}}, {meter.dimension(key)}" for at, key in enumerate(keys))
    group_by = f"map({pairs})" if keys else "CAST(map(), 'Map(String, String)')"
    subject = "subject" if "subject" in query.group_by else "CAST(NULL, 'Nullable(String)')"
    output = (
        f"usage AS value, {statement.start_text} AS windowStart, {statement.end_text} AS windowEnd, "
        f"{subject} AS subject, {group_by} AS groupBy"
    )
    group_count = _bound_groups(store, statement, query)
    names = {f"key_{at}": key for at, key in enumerate(keys)}
    with _refused(limit):
        text = statement.render(output, most_rows=limit.rows if limit else None)
        rows = store.query_bytes(text, "JSONEachRow", {**statement.parameters, **names})
    if limit and rows.count(b"\n{") > limit.rows:
        raise limit.refusal
    return Answer(rows.strip(), statement.grains, group_count)


def ask_csv(store: Store, meter: Meter, query: UsageQuery, limit: RowLimit | None = None) -> Answer:
    """Answer a checked query as CSV lines under a header; LF ends each line.

    Subjects are named beside their keys if at least one of the answer was given a name or metadata.
    Raises: TooManyRows: it has more rows than the limit.
    """
    statement = UsageStatement(store, meter, query)
    with _refused(limit):
        joined = _names_joined(store, statement, query, limit)
        columns = {key: meter.dimension(key) for key in query.group_by if key != "subject"}
        if "subject" in query.group_by:
            named = {"subject_display_name": "ifNull(display_name, '')"} if joined else {}
            columns = {"subject": "subject", **named, **columns}
        values = map(_csv_field, columns.values())
        line = "concat(" + ", ',', ".join([statement.start_text, statement.end_text, *values, "toString(usage)"]) + ")"
        text = statement.render(f"{line} AS line", joined, most_rows=limit.rows if limit else None)
        rows = store.query_bytes(text, "TSVRaw", statement.parameters)
    if limit and _csv_rows(rows, limit.rows) > limit.rows:
        raise limit.refusal
    header = ",".join(["window_start", "window_end", *columns, "value"])
    return Answer(header.encode() + b"\n" + rows, statement.grains)


def _bound_groups(store: Store, statement: UsageStatement, query: UsageQuery) -> int | None:
    """Have a statement answer the largest groups alone if there are more than asked for; return how many there are."""
    if query.max_groups is None:
        return None
    count = statement.count_groups(store)
    if count > query.max_groups:
        statement.keep_largest(query.max_groups - 1)
    return count


@contextmanager
def _refused(limit: RowLimit | None) -> Iterator[None]:
    """Refuse an answer whose groups alone are too many rows: the engine gives up before it has made them all."""
    try:
        yield
    except StoreError as error:
        if limit and error.clickhouse_code == _TOO_MANY_GROUPS:
            raise limit.refusal from error
        raise


def _csv_rows(rows: bytes, most: int) -> int:
    """Return how many rows CSV lines are, or fewer than that if they are no more than `most`.

    A value may hold line ends; it stands between quotes then.
    """
    lines = rows.count(b"\n")
    return lines if lines <= most else sum(part.count(b"\n") for part in rows.split(b'"')[::2])


def _names_joined(store: Store, statement: UsageStatement, query: UsageQuery, limit: RowLimit | None) -> str:
    """Return the join that names the subjects of an answer, nothing if none of them has a name or metadata."""
    if "subject" not in query.group_by:
        return ""
    statement.parameters["keys"] = list(query.subjects or ())
    names = sql.statement("subjects/names")
    if not store.rows(f"{names} LIMIT 1", **statement.parameters):
        return ""
    joined = sql.statement("usage/named", names=names)
    known_text = statement.render(
        "max(named.key != '')", joined, ordered=False, most_rows=limit.rows if limit else None
    )
    (known,) = store.rows(known_text, **statement.parameters)
    return joined if known[0] else ""


def _csv_field(column: str) -> str:
    """Quote where RFC 4180 asks for it."""
    quoted = f"""concat('"', replaceAll({column}, '"', '""'), '"')"""
    return f"""if(match({column}, '[",\\\\r\\\\n]|^\\\\s'), {quoted}, {column})"""
