"""The distinct subjects of a meter's events, or the values of one of its group-by keys: a page at a time, in order.

Source: docs/contract.md "Values and subjects".
"""

from dataclasses import dataclass, replace

from engine.meters.meter import Meter
from engine.store import sql
from engine.store.clickhouse import Store
from engine.usage.query import UsageQuery
from engine.usage.statement import UsageStatement


@dataclass(frozen=True, slots=True)
class Page:
    """Which values are listed: `limit` at most, those with `search` in them in any case, behind the value `after`."""

    limit: int
    search: str = ""
    after: str | None = None


def distinct_values(store: Store, meter: Meter, key: str, query: UsageQuery, page: Page) -> tuple[list[str], bool]:
    """Return the distinct subjects ("subject") or values of a group-by key in a range, sorted; and whether more follow.

    Of long lists the engine sorts only as many as the page holds.
    """
    statement = UsageStatement(store, meter, replace(query, group_by=(key,)))
    column = "subject" if key == "subject" else meter.dimension(key)
    rendered = sql.statement("usage/distinct", key=column, pieces=statement.pieces())
    asked = {"search": page.search, "after": page.after, "limit": page.limit + 1}
    found = [str(row[0]) for row in store.rows(rendered, **statement.parameters, **asked)]
    return found[: page.limit], len(found) > page.limit
