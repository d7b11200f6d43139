"""The usage of one meter as an answer whose rows ClickHouse has formatted.

Owns: `Answer`, the limit on its rows, and the format of its rows. ClickHouse formats the rows, so a query costs Python
the same for three rows and for thirty thousand. An answer with too many rows is refused; it is never truncated.
Source: docs/design.md R17–R21 (queries); docs/contract.md "Answers".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from engine.errors import StoreError, TooManyRows
from engine.meters.meter import Meter
from engine.store import sql
from engine.store.clickhouse import Store
from engine.usage.grains import Grain
from engine.usage.query import UsageQuery
from engine.usage.statement import UsageStatement, range_to_read

__all__ = ["Answer", "RowLimit", "UsageQuery", "query_csv", "query_json"]

_TOO_MANY_GROUPS = 158  # the error code of ClickHouse


@dataclass(frozen=True, slots=True)
class RowLimit:
    """How many rows an answer may have, and the name of the setting that says so."""

    rows: int
    setting: str

    @property
    def error(self) -> TooManyRows:
        """The error with which an answer that has more rows is refused."""
        return TooManyRows(
            f"the answer has more than {self.rows} rows, which is the limit {self.setting}: ask for fewer groups, "
            "larger windows, a shorter range, or with a filter"
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a usage query.

    `rows` is a JSON array, or CSV lines under a header. `grains` names the grains that the answer was computed from.
    `group_count` is how many groups there are, if the query limits them; otherwise it is None.
    """

    rows: bytes
    grains: tuple[Grain, ...]
    group_count: int | None = None


def query_json(store: Store, meter: Meter, query: UsageQuery, limit: RowLimit | None = None) -> Answer:
    """Answer a resolved query with a JSON array of rows.

    Raises: TooManyRows: the answer has more rows than the limit.
    """
    statement = UsageStatement(meter, query, range_to_read(store, meter, query))
    keys = [key for key in query.group_by if key != "subject"]
    pairs = ", ".join(f"{{key_{index}:String}}, {meter.dimension(key)}" for index, key in enumerate(keys))
    group_by = f"map({pairs})" if keys else "CAST(map(), 'Map(String, String)')"
    subject = "subject" if "subject" in query.group_by else "CAST(NULL, 'Nullable(String)')"
    output = (
        f"usage AS value, {statement.start_text} AS windowStart, {statement.end_text} AS windowEnd, "
        f"{subject} AS subject, {group_by} AS groupBy"
    )
    group_count = _bound_groups(store, statement, query)
    names = {f"key_{index}": key for index, key in enumerate(keys)}
    with _refuse_too_many_groups(limit):
        rendered = statement.render(output, max_rows=limit.rows if limit else None)
        rows = store.query_bytes(rendered, "JSONEachRow", {**statement.parameters, **names})
    if limit and rows.count(b"\n{") > limit.rows:
        raise limit.error
    return Answer(rows.strip(), statement.grains, group_count)


def query_csv(store: Store, meter: Meter, query: UsageQuery, limit: RowLimit | None = None) -> Answer:
    """Answer a resolved query with CSV lines under a header. Each line ends with LF.

    If at least one subject of the answer has a name or metadata, a column next to the subject keys holds the names.
    Raises: TooManyRows: the answer has more rows than the limit.
    """
    statement = UsageStatement(meter, query, range_to_read(store, meter, query))
    with _refuse_too_many_groups(limit):
        join = _join_subject_names(store, statement, query, limit)
        columns = {key: meter.dimension(key) for key in query.group_by if key != "subject"}
        if "subject" in query.group_by:
            named = {"subject_display_name": "ifNull(display_name, '')"} if join else {}
            columns = {"subject": "subject", **named, **columns}
        values = map(_quote_csv, columns.values())
        line = "concat(" + ", ',', ".join([statement.start_text, statement.end_text, *values, "toString(usage)"]) + ")"
        rendered = statement.render(f"{line} AS line", join, max_rows=limit.rows if limit else None)
        rows = store.query_bytes(rendered, "TSVRaw", statement.parameters)
    if limit and _count_csv_rows(rows, limit.rows) > limit.rows:
        raise limit.error
    header = ",".join(["window_start", "window_end", *columns, "value"])
    return Answer(header.encode() + b"\n" + rows, statement.grains)


def _bound_groups(store: Store, statement: UsageStatement, query: UsageQuery) -> int | None:
    """Limit a statement to the largest groups if there are more than the query allows.

    Return how many groups there are, or None if the query does not limit them.
    """
    if query.max_groups is None:
        return None
    count = statement.count_groups(store)
    if count > query.max_groups:
        statement.keep_largest(query.max_groups - 1)
    return count


@contextmanager
def _refuse_too_many_groups(limit: RowLimit | None) -> Iterator[None]:
    """Turn the error of ClickHouse for too many groups into TooManyRows.

    ClickHouse stops with it before it has computed all groups.
    """
    try:
        yield
    except StoreError as error:
        if limit and error.clickhouse_code == _TOO_MANY_GROUPS:
            raise limit.error from error
        raise


def _count_csv_rows(rows: bytes, max_rows: int) -> int:
    """Return how many rows the CSV lines contain, or a number of at most `max_rows` if they contain no more.

    The number of line ends is at least the number of rows. A value that contains line ends is in quotes, and its line
    ends are not counted if the exact number is needed.
    """
    lines = rows.count(b"\n")
    return lines if lines <= max_rows else sum(part.count(b"\n") for part in rows.split(b'"')[::2])


def _join_subject_names(store: Store, statement: UsageStatement, query: UsageQuery, limit: RowLimit | None) -> str:
    """Return the SQL join that adds the names of subjects, or "" if no subject of the answer has a name or metadata."""
    if "subject" not in query.group_by:
        return ""
    statement.parameters["keys"] = list(query.subjects or ())
    names = sql.statement("subjects/names")
    if not store.rows(f"{names} LIMIT 1", **statement.parameters):
        return ""
    join = sql.statement("usage/named", names=names)
    known_statement = statement.render(
        "max(named.key != '')", join, ordered=False, max_rows=limit.rows if limit else None
    )
    (known,) = store.rows(known_statement, **statement.parameters)
    return join if known[0] else ""


def _quote_csv(column: str) -> str:
    """Return the SQL expression that quotes a column where RFC 4180 requires it or a value begins with a space."""
    quoted = f"""concat('"', replaceAll({column}, '"', '""'), '"')"""
    return f"""if(match({column}, '[",\\\\r\\\\n]|^\\\\s'), {quoted}, {column})"""
