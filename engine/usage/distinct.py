"""The distinct subjects of a meter's events, or the distinct values of a group-by key, as sorted pages.

Source: docs/contract.md "Values and subjects".
"""

from dataclasses import dataclass, replace

from engine.meters.meter import Meter
from engine.store import sql
from engine.store.clickhouse import Store
from engine.usage.query import UsageQuery
from engine.usage.statement import UsageStatement, range_to_read


@dataclass(frozen=True, slots=True)
class Page:
    """The values that a page lists.

    They contain `search`, without regard to upper or lower case, and come after the value `after` in the order. The
    page has at most `limit` values.
    """

    limit: int
    search: str = ""
    after: str | None = None


def distinct_values(store: Store, meter: Meter, key: str, query: UsageQuery, page: Page) -> tuple[list[str], bool]:
    """Return the sorted distinct values of a key in the query's range, and whether more values follow the page.

    If the list is long, ClickHouse keeps only as many values sorted as the page needs.
    Args: key: "subject" or a group-by key of the meter.
    """
    grouped = replace(query, group_by=(key,))
    statement = UsageStatement(meter, grouped, range_to_read(store, meter, grouped))
    column = "subject" if key == "subject" else meter.dimension(key)
    rendered = sql.statement("usage/distinct", key=column, segments=statement.render_segments())
    page_parameters = {"search": page.search, "after": page.after, "limit": page.limit + 1}
    values = [str(row[0]) for row in store.rows(rendered, **statement.parameters, **page_parameters)]
    return values[: page.limit], len(values) > page.limit
