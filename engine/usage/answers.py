"""The usage of one meter as an answer: rows from ClickHouse, into which the texts of their windows are put.

Owns: `Answer`, the limit on its rows, and the format of its rows. ClickHouse formats a row but for its window, of which
it tells the Unix seconds. An answer with too many rows is refused; it is never truncated.
Source: docs/design.md R17–R21 (queries); docs/contract.md "Answers".
"""

import functools
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import orjson

from engine.errors import StoreError, TooManyRows
from engine.meters.meter import Meter
from engine.store import sql
from engine.store.clickhouse import Store
from engine.usage.grains import Grain
from engine.usage.query import UsageQuery
from engine.usage.statement import UsageStatement, range_to_read
from engine.usage.windows import WindowSize

__all__ = ["Answer", "RowLimit", "UsageQuery", "query_csv", "query_json"]

_CHUNK_BYTES = 1 << 20
_TOO_MANY_GROUPS = 158  # the error code of ClickHouse
_WINDOW = re.compile(rb'"start":(-?\d+(?:,"end":-?\d+)?)')


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
    in_sql = query.window_size is WindowSize.MINUTE
    statement = UsageStatement(meter, query, range_to_read(store, meter, query), fix_subject=not in_sql)
    group_count = _bound_groups(store, statement, query)
    keys = [key for key in query.group_by if key != "subject"]
    names = {f"key_{index}": key for index, key in enumerate(keys)}
    columns = [f"{meter.spec.value} AS value", statement.minute_texts() if in_sql else statement.window_seconds()]
    constants = ""
    if statement.fixed_subject is not None:
        constants = f',"subject":{orjson.dumps(statement.fixed_subject).decode()}'
    else:
        columns.append("subject" if "subject" in query.group_by else "CAST(NULL, 'Nullable(String)') AS subject")
    if keys:
        pairs = ", ".join(f"{{key_{index}:String}}, {meter.dimension(key)}" for index, key in enumerate(keys))
        columns.append(f"map({pairs}) AS groupBy")
    elif constants:
        constants += ',"groupBy":{}'
    else:
        columns.append("CAST(map(), 'Map(String, String)') AS groupBy")
    with _refuse_too_many_groups(limit):
        groups = statement.render_groups(", ".join(columns))
        rendered = statement.render(groups, max_rows=limit.rows if limit else None)
        rows = store.query_bytes(rendered, "JSONEachRow", {**statement.parameters, **names})
    if limit and rows.count(b"\n{") > limit.rows:
        raise limit.error
    return Answer(_put_windows(rows.strip(), statement, constants), statement.grains, group_count)


def _put_windows(rows: bytes, statement: UsageStatement, constants: str) -> bytes:
    """Replace the Unix seconds in JSON rows by the texts of the windows and the members that all rows share."""

    @functools.cache
    def members(seconds: bytes) -> bytes:
        start, end = statement.window_texts(*map(int, seconds.split(b',"end":')))
        return f'"windowStart":"{start}","windowEnd":"{end}"{constants}'.encode()

    reader, written = io.BytesIO(rows), bytearray()
    while lines := reader.readlines(_CHUNK_BYTES):  # the parts of all rows would need much memory
        parts = _WINDOW.split(b"".join(lines))  # every second part is a window
        parts[1::2] = map(members, parts[1::2])
        written += b"".join(parts)
    return bytes(written)


def query_csv(store: Store, meter: Meter, query: UsageQuery, limit: RowLimit | None = None) -> Answer:
    """Answer a resolved query with CSV lines under a header. Each line ends with LF.

    If at least one subject of the answer has a name or metadata, a column next to the subject keys holds the names.
    Raises: TooManyRows: the answer has more rows than the limit.
    """
    statement = UsageStatement(meter, query, range_to_read(store, meter, query))
    with _refuse_too_many_groups(limit):
        columns = {key: meter.dimension(key) for key in query.group_by if key != "subject"}
        dimensions = ["subject"] * ("subject" in query.group_by) + [*columns.values()]
        groups = statement.render_groups(
            ", ".join([statement.window_seconds(), *dimensions, f"{meter.spec.value} AS usage"])
        )
        join = _join_subject_names(store, statement, groups, query, limit)
        if "subject" in query.group_by:
            named = {"subject_display_name": "ifNull(display_name, '')"} if join else {}
            columns = {"subject": "subject", **named, **columns}
        rest = "concat(" + ", ',', ".join([*map(_quote_csv, columns.values()), "toString(usage)"]) + ")"
        ends = "start, end" if statement.is_open_total else "start"
        lines = sql.statement("usage/lines", output=f"{ends}, {rest} AS line", groups=groups, join=join)
        rendered = statement.render(lines, max_rows=limit.rows if limit else None)
        found = store.query_bytes(rendered, "JSONCompactEachRow", statement.parameters)
    if limit and found.count(b"\n") > limit.rows:
        raise limit.error
    window = functools.cache(lambda *seconds: ",".join(statement.window_texts(*seconds)))
    written = bytearray(f"{','.join(['window_start', 'window_end', *columns, 'value'])}\n".encode())
    for row in io.BytesIO(found):
        *ends, line = orjson.loads(row)
        written += f"{window(*ends)},{line}\n".encode()
    return Answer(bytes(written), statement.grains)


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


def _join_subject_names(
    store: Store, statement: UsageStatement, groups: str, query: UsageQuery, limit: RowLimit | None
) -> str:
    """Return the SQL join that adds the names of subjects, or "" if no subject of the answer has a name or metadata."""
    if "subject" not in query.group_by:
        return ""
    statement.parameters["keys"] = list(query.subjects or ())
    names = sql.statement("subjects/names")
    if not store.rows(f"{names} LIMIT 1", **statement.parameters):
        return ""
    join = sql.statement("usage/named", names=names)
    known_lines = sql.statement("usage/lines", output="max(named.key != '')", groups=groups, join=join)
    known_statement = statement.render(known_lines, ordered=False, max_rows=limit.rows if limit else None)
    (known,) = store.rows(known_statement, **statement.parameters)
    return join if known[0] else ""


def _quote_csv(column: str) -> str:
    """Return the SQL expression that quotes a column where RFC 4180 requires it or a value begins with a space."""
    quoted = f"""concat('"', replaceAll({column}, '"', '""'), '"')"""
    return f"""if(match({column}, '[",\\\\r\\\\n]|^\\\\s'), {quoted}, {column})"""
