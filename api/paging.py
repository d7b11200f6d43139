"""Pages of listings that are plain arrays: where the next one begins is told in a header.

Source: docs/contract.md D.22; RFC 8288 (Link).
"""

from urllib.parse import urlencode

from starlette.requests import Request

from api.problems import without_tokens
from engine.listings import Position


def next_page(request: Request, end: Position, limit: int) -> dict[str, str]:
    """Return the header that names the page behind a full one. Args: end: where the full one ends."""
    given = request.query_params.multi_items()
    kept = [(name, without_tokens(text)) for name, text in given if name not in {"limit", "before"}]
    query = urlencode([("limit", limit), *kept, ("before", end.cursor)])
    return {"Link": f'<{request.url.path}?{query}>; rel="next"'}
