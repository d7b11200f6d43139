"""Duplicates that are not retries: events that were dropped although the stored event has different content.

    GET /api/v1/duplicates   lists them, the last arrived first

Source: docs/contract.md 3.8.
"""

from starlette.requests import Request
from starlette.responses import Response

from api.dependencies import Dependencies, in_thread
from api.http.paging import next_page
from api.http.parameters import Parameters
from api.http.responses import raw_json
from engine.events import differing_duplicates
from engine.events.differing_duplicates import DuplicateFilter
from engine.listings.log_position import parse_cursor


async def list_duplicates(dependencies: Dependencies, request: Request) -> Response:
    """List duplicates with different content, the last arrived first; a full page has a link to the next one."""
    query = Parameters(request)
    limit, cursor = query.integer("limit", 100, 1, 100), query.text("before")
    filter_ = DuplicateFilter(
        from_=query.instant("from"),
        to=query.instant("to"),
        id_contains=query.text("id"),
        subject=query.text("subject"),
        after=None if cursor is None else parse_cursor(cursor),
        limit=limit,
    )
    found = await in_thread(request, lambda: differing_duplicates.list_duplicates(dependencies.store, filter_))
    link = next_page(request, found[-1].position, limit) if len(found) == limit else None
    return raw_json(b"[" + b",".join(duplicate.json for duplicate in found) + b"]", headers=link)
